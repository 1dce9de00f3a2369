//! OFREP: flags evaluated for clients of `OpenFeature`.

use plane_model::Code;

use super::{Operation, Query, Reply, get, json, post, text};
use crate::{OfrepFlag, OfrepFlags, OfrepRequest};

const CONFIG_ETAG: Query = text(
    "flagConfigEtag",
    "the `etag` of the event that this request follows",
);
const CONFIG_LAST_MODIFIED: Query = text(
    "flagConfigLastModified",
    "the `lastModified` of the event that this request follows; this server sends none",
);
const TICKET: Query = text(
    "ticket",
    "what `eventStreams` gave: opens this stream in place of a token, for 15 to 30 minutes",
);

const EVALUATE_CODES: &[Code] = &[Code::TenantNotFound, Code::ContextInvalid];

pub(super) fn ofrep_operations(table: &mut Vec<Operation>) {
    // Clients append the protocol's paths to a base URL: those that can set nothing else name the
    // environment in it.
    for (suffix, base) in [("", ""), ("In", "/v1/environments/{environment}")] {
        let flags = format!("{base}/ofrep/v1/evaluate/flags");
        table.push(
            post(
                &format!("ofrepEvaluate{suffix}"),
                &format!("{flags}/{{key}}"),
                "ofrep",
                "Says what one flag is for a context.",
            )
            .ofrep()
            .request(json::<OfrepRequest>)
            .reply(Reply::Json(json::<OfrepFlag>))
            .codes(EVALUATE_CODES),
        );
        table.push(
            post(
                &format!("ofrepEvaluateAll{suffix}"),
                &flags,
                "ofrep",
                "Says what all flags are for a context.",
            )
            .ofrep()
            .query(&[CONFIG_ETAG, CONFIG_LAST_MODIFIED])
            .request(json::<OfrepRequest>)
            .reply(Reply::Json(json::<OfrepFlags>))
            .codes(EVALUATE_CODES),
        );
    }
    table.push(
        get(
            "ofrepEvents",
            "/ofrep/v1/events",
            "ofrep",
            "Says when flags are to be evaluated again, as server-sent events.",
        )
        .ofrep()
        .query(&[TICKET])
        .reply(Reply::OfrepEvents),
    );
}
