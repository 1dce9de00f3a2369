// Reads `{flags, questions: [[type, key, context], …]}` from its input and writes what flagd's evaluator answers:
// `[value, variant]` each, null where it leaves the value to the caller.
const { FlagdCore } = require('@openfeature/flagd-core');

const input = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const core = new FlagdCore();
core.setConfigurations(JSON.stringify(input.flags));
const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const ask = {
  boolean: core.resolveBooleanEvaluation,
  string: core.resolveStringEvaluation,
  integer: core.resolveNumberEvaluation,
  float: core.resolveNumberEvaluation,
  object: core.resolveObjectEvaluation,
};
const answers = input.questions.map(([type, key, context]) => {
  // No flag has this value, so that it is seen where the caller's own holds.
  const none = Symbol('none');
  const found = ask[type].call(core, key, none, context, quiet);
  return found.value === none || found.value === undefined ? null : [found.value, found.variant];
});
process.stdout.write(JSON.stringify(answers));
