//! A small platform as a tree of files.

use std::fs;
use std::path::Path;

/// Every file of the tree.
const FILES: &[(&str, &str)] = &[
    ("environments/production.yaml", "order: 2\ndescription: What customers talk to.\n"),
    ("environments/staging.yaml", "order: 1\n"),
    ("tenants/big.yaml", "plan: enterprise\nregion: eu-west\n"),
    ("tenants/small.yaml", "plan: free\nregion: us-east\nlabels: { industry: retail }\n"),
    (
        "feature_flags/reasoning.yaml",
        "\
key: reasoning
type: boolean
owner: team-ml
description: Answers with less chance.
overrides: { agents: [support], priority: 10, patches: { \"on\": { temperature: 0.3 } } }
environments:
  production:
    state: enabled
    rules:
      - { name: enterprise-eu, if: { all: [ { attribute: tenant.plan, in: [enterprise] }, { attribute: tenant.region, starts_with: eu } ] }, serve: \"on\" }
    default: \"off\"
",
    ),
    (
        "feature_flags/beta.yaml",
        "\
key: beta
type: boolean
environments:
  production:
    state: enabled
    default: { percent: { \"on\": 25 }, by: user.id }
",
    ),
    (
        "configs/ai.schema.yaml",
        "\
$schema: https://json-schema.org/draft/2020-12/schema
type: object
properties:
  temperature: { type: number, minimum: 0, maximum: 1, x-override: [environment, plan, tenant] }
  url: { type: string, x-override: [environment] }
",
    ),
    ("configs/ai/base.yaml", "temperature: 0.7\nurl: https://ai.example\n"),
    ("configs/ai/production.plan=free.yaml", "temperature: 0.5\n"),
    ("registries/trust/default.yaml", "signing: optional\n"),
    (
        "registries/tools/crm.yaml",
        "\
name: crm
version: 1.0.0
created_at: \"2026-01-01T00:00:00Z\"
owner: platform-team
metadata:
  description: Customers
  category: data
  inputs_schema: { type: object }
  outputs_schema: { type: object }
  timeout_ms: 5000
  retry_attempts: 3
",
    ),
    (
        "registries/agents/support-1.0.0.yaml",
        "\
name: support
version: 1.0.0
created_at: \"2026-01-01T00:00:00Z\"
owner: platform-team
metadata:
  description: Helps customers
  system_prompt: You help customers.
  model: chat-1
  temperature: 0.7
  max_tokens: 1000
  tools: [crm]
",
    ),
    (
        "registries/agents/support-1.1.0.yaml",
        "\
name: support
version: 1.1.0
created_at: \"2026-02-01T00:00:00Z\"
owner: platform-team
metadata:
  description: Helps customers, and more
  system_prompt: You help customers a lot.
  model: chat-2
  temperature: 0.7
  max_tokens: 2000
  tools: [crm]
",
    ),
    ("registries/channels/production.yaml", "support: 1.0.0\n"),
    ("registries/__init__.py", "# a stranger\n"),
];

/// Writes the tree into a directory.
pub(crate) fn write(root: &Path) {
    for (path, content) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
