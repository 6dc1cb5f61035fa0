//! The images of a release, before it is one.

use super::ApiError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `POST /v1/stacks/{project}/{environment}/images`: find, fetch or build what a bundle runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagesRequest {
    /// The bundle that shall run.
    pub bundle: String,
    /// How registries know the author, by host name; kept nowhere.
    #[serde(default)]
    pub logins: BTreeMap<String, LoginView>,
    /// The revision of the sources, for a label of what is built.
    #[serde(default)]
    pub revision: Option<String>,
    /// Where the sources are kept, for a label of what is built.
    #[serde(default)]
    pub source: Option<String>,
    /// The project of another tool that is taken over (`up --adopt`): what its containers run is neither fetched nor built.
    #[serde(default)]
    pub adopt: Option<String>,
}

/// How one registry knows the author.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginView {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// A token in place of both.
    #[serde(default)]
    pub identity_token: Option<String>,
}

impl fmt::Debug for LoginView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginView").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What happens meanwhile; the `data:` of each SSE message, `event: image`. The last one is `finished` or `failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ImageEvent {
    /// A part of the work has begun.
    #[serde(rename_all = "camelCase")]
    Step {
        /// The services it is for.
        services: Vec<String>,
        /// Its number, from 1; 0 where steps are not counted.
        number: u32,
        /// How many there are; 0 when that is not known.
        of: u32,
        /// In words.
        text: String,
        /// Nothing has to be done for it.
        cached: bool,
    },
    /// Bytes that have been fetched or unpacked.
    #[serde(rename_all = "camelCase")]
    Bytes {
        /// The services it is for.
        services: Vec<String>,
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// A line that a step of a build has written.
    #[serde(rename_all = "camelCase")]
    Line {
        /// The services it is for.
        services: Vec<String>,
        /// The line.
        text: String,
    },
    /// An image is there.
    #[serde(rename_all = "camelCase")]
    Ready {
        /// The services it is for.
        services: Vec<String>,
        /// `sha256:…`.
        id: String,
        /// `found`, `pulled`, `built`.
        how: String,
        /// `repository@sha256:…` as its registry knows it.
        #[serde(default)]
        digest: Option<String>,
        /// Bytes of its layers.
        size: u64,
        /// How long it took.
        millis: u64,
    },
    /// All are there.
    #[serde(rename_all = "camelCase")]
    Finished {
        /// The image of each service, to be named in the order that runs the bundle.
        images: BTreeMap<String, String>,
    },
    /// One of them could not be had.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// Why.
        error: ApiError,
    },
    /// Something a newer daemon tells; never sent by this one.
    #[serde(other)]
    Unknown,
}
