//! Tokens, and who the caller is.

use plane_api::{CommitReply, DocumentReply, TokenReply, TokenRequest, Whoami};
use plane_model::TokenId;
use serde_json::Value;
use ureq::http::Method;

use crate::documents::Write;
use crate::error::Error;
use crate::path::path;
use crate::transport::{Client, Extra};

impl Client {
    /// Makes a token; its text is in the reply and nowhere else.
    ///
    /// # Errors
    /// [`Error::Problem`]: the caller may not, or the request is refused.
    pub fn create_token(&self, request: &TokenRequest, write: &Write) -> Result<TokenReply, Error> {
        let extra = Extra::json(request)?.once().reason(write.reason.as_deref());
        self.call(&Method::POST, &path(&["tokens"]), &extra)
    }

    /// Lists the tokens, without their secrets.
    ///
    /// # Errors
    /// As every call.
    pub fn tokens(&self) -> Result<Vec<DocumentReply<Value>>, Error> {
        self.all(&path(&["tokens"]), &[])
    }

    /// Withdraws a token.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is none.
    pub fn revoke_token(&self, id: &TokenId, write: &Write) -> Result<CommitReply, Error> {
        let extra = Extra::default().once().reason(write.reason.as_deref());
        let target = format!("{}{}", path(&["tokens", id.as_str()]), write.query());
        self.call(&Method::DELETE, &target, &extra)
    }

    /// Says who the caller is and what the token covers.
    ///
    /// # Errors
    /// As every call.
    pub fn whoami(&self) -> Result<Whoami, Error> {
        self.get(&path(&["whoami"]))
    }
}
