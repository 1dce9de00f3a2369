// OpenFeature's own SDKs for JavaScript, for servers and for browsers, against the real server.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { MODULES, SERVER, CONTROL_PLANE_TOKEN } = process.env;
const require = createRequire(join(MODULES, 'of.js'));
const server = require('@openfeature/server-sdk');
const web = require('@openfeature/web-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');

const admin = { authorization: `Bearer ${CONTROL_PLANE_TOKEN}`, 'content-type': 'application/json' };
async function call(method, path, body) {
  const reply = await fetch(SERVER + path, { method, headers: admin, body: JSON.stringify(body) });
  assert.equal(reply.status, 200, `${method} ${path}: ${await reply.clone().text()}`);
  return reply.json();
}

const production = '/v1/environments/production';
const enabled = (rest) => ({ state: 'enabled', ...rest });
const put = (kind, scope, name, body) => ({ op: 'put', kind, scope, name, body });
await call('POST', '/v1/commits', {
  ops: [
    put('flag', '', 'of-theme', { type: 'string', variants: { dark: '#000', light: '#fff' } }),
    put('targeting', 'production', 'of-theme', enabled({
      rules: [{ name: 'germany', if: { attribute: 'country', equals: 'DE' }, serve: 'dark' }],
      default: 'light',
    })),
    put('flag', '', 'of-half', { type: 'boolean' }),
    put('targeting', 'production', 'of-half', enabled({ default: { percent: { on: 50 } } })),
    put('flag', '', 'of-limits', { type: 'object', variants: { small: { rows: 10 } } }),
    put('targeting', 'production', 'of-limits', enabled({ default: 'small' })),
    put('flag', '', 'of-unset', { type: 'string', variants: { a: 'a' } }),
  ],
});
const tokenOf = async (principal, kind) => (await call('POST', '/v1/tokens', {
  principal, kind, role: 'viewer', environments: ['production'],
})).token;

// A server asks for one flag at a time.
await server.OpenFeature.setProviderAndWait(new OFREPProvider({
  baseUrl: SERVER,
  headers: [['X-API-Key', await tokenOf('shop', 'service')]],
}));
const asking = server.OpenFeature.getClient();
const german = await asking.getStringDetails('of-theme', 'none', { targetingKey: 'u', country: 'DE' });
assert.deepEqual([german.value, german.variant, german.reason], ['#000', 'dark', 'TARGETING_MATCH']);
assert.equal(german.flagMetadata.rule, 'germany');
assert.deepEqual(await asking.getObjectValue('of-limits', {}), { rows: 10 });
// This provider (0.1.3) takes a reply without a value for an error, and gives the right value with it.
assert.equal(await asking.getStringValue('of-unset', 'mine'), 'mine');
const unknown = await asking.getBooleanDetails('no-such-flag', true);
assert.deepEqual([unknown.value, unknown.errorCode], [true, 'FLAG_NOT_FOUND']);
const mistyped = await asking.getBooleanDetails('of-theme', true);
assert.deepEqual([mistyped.value, mistyped.errorCode], [true, 'TYPE_MISMATCH']);
const keyless = await asking.getBooleanDetails('of-half', true);
assert.deepEqual([keyless.value, keyless.errorCode], [true, 'TARGETING_KEY_MISSING']);

// A browser asks for all of them, and again when it hears of a change. Node has no EventSource.
const opened = [];
globalThis.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    opened.push(url);
    this.ends = new AbortController();
    void this.read(url);
  }

  async read(url) {
    try {
      const reply = await fetch(url, { signal: this.ends.signal });
      assert.equal(reply.status, 200);
      this.dispatchEvent(new Event('open'));
      let text = '';
      for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
        text += piece;
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          const data = text.slice(0, end).split('\n').find((line) => line.startsWith('data: '));
          text = text.slice(end + 2);
          if (data) this.dispatchEvent(Object.assign(new Event('message'), { data: data.slice(6) }));
        }
      }
    } catch (error) {
      if (error.name !== 'AbortError') throw error;
    }
  }

  close() {
    this.ends.abort();
  }
};
await web.OpenFeature.setContext({ targetingKey: 'u', country: 'DE' });
await web.OpenFeature.setProviderAndWait(new OFREPWebProvider({
  baseUrl: SERVER,
  headers: [['Authorization', `Bearer ${await tokenOf('web', 'client')}`]],
}));
const page = web.OpenFeature.getClient();
const shown = page.getStringDetails('of-theme', 'none');
assert.deepEqual([shown.value, shown.flagMetadata.rule], ['#000', undefined], 'not how it came about');
assert.equal(page.getBooleanDetails('no-such-flag', true).errorCode, 'FLAG_NOT_FOUND');
assert.equal(page.getBooleanDetails('of-theme', true).errorCode, 'TYPE_MISMATCH');
await web.OpenFeature.setContext({ country: 'FR' });
assert.equal(page.getStringValue('of-theme', 'none'), '#fff', 'another context, another reply');
assert.equal(page.getBooleanDetails('of-half', true).errorCode, 'TARGETING_KEY_MISSING');
assert.equal(opened.length > 0 && opened.every((url) => url.includes('?ticket=')), true, `${opened}`);

const changed = new Promise((resolve) => {
  page.addHandler(web.ProviderEvents.ConfigurationChanged, (event) => {
    if (event.flagsChanged?.includes('of-theme')) resolve();
  });
});
await call('PUT', `${production}/kills/flag:of-theme`, { reason: 'unreadable' });
await changed;
assert.equal(page.getStringDetails('of-theme', 'mine').reason, 'DISABLED');
await web.OpenFeature.close();
await server.OpenFeature.close();
console.log('ofrep: the SDKs for JavaScript get what they should');
