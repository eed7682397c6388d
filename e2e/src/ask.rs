//! Single requests to an API server: a test sees the whole status of a refusal, and may ask as somebody else.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, Request};
use kube::core::Status;
use kube::{Client, Error};
use serde_json::Value;

/// How long an answer may take to become the wanted one: what the API server decides by reaches it through watches.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked for meanwhile.
const PERIOD: Duration = Duration::from_millis(50);

const IMPERSONATED_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATED_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// What an API server says: an object, or why not.
pub type Answer = Result<Value, Box<Status>>;

/// How a change is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Operations on places, RFC 6902.
    Operations,
    /// Fields that replace fields, lists as a whole, RFC 7386.
    Merge,
    /// The same, but the API server knows by which field elements of a list are told apart.
    Strategic,
    /// All that this manager of fields wants.
    Apply,
}

/// A request that can be sent many times.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    parameters: Vec<&'static str>,
    content: &'static str,
    body: Option<Value>,
    user: Option<String>,
    groups: Vec<String>,
}

// === impl Change ===

impl Change {
    fn content(self) -> &'static str {
        match self {
            Self::Operations => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

// === impl Ask ===

impl Ask {
    /// Asks for what a path holds.
    #[must_use]
    pub fn read(path: &str) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// Asks to add an object to the collection of a path.
    #[must_use]
    pub fn create(path: &str, object: &Value) -> Self {
        Self::new(Method::POST, path, Some(object))
    }

    /// Asks to put an object where there is one.
    #[must_use]
    pub fn replace(path: &str, object: &Value) -> Self {
        Self::new(Method::PUT, path, Some(object))
    }

    /// Asks to change what a path holds. The manager of the changed fields is `strobe`.
    #[must_use]
    pub fn change(path: &str, how: Change, change: &Value) -> Self {
        let mut ask = Self::new(Method::PATCH, path, Some(change));
        ask.content = how.content();
        ask.parameters.push("fieldManager=strobe");
        ask
    }

    /// Asks to delete what a path holds, at once.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        let mut ask = Self::new(Method::DELETE, path, None);
        ask.parameters.push("gracePeriodSeconds=0");
        ask
    }

    /// Asks what would be, without doing it.
    #[must_use]
    pub fn dry(mut self) -> Self {
        self.parameters.push("dryRun=All");
        self
    }

    /// Asks in somebody's name, as a member of groups.
    #[must_use]
    pub fn by(mut self, user: &str, groups: &[&str]) -> Self {
        self.user = Some(user.to_owned());
        self.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn answer(&self, client: &Client) -> Result<Answer> {
        match client.request(self.request()?).await {
            Ok(object) => Ok(Ok(object)),
            Err(Error::Api(status)) => Ok(Err(status)),
            Err(error) => Err(error).with_context(|| format!("{} {}", self.method, self.path)),
        }
    }

    /// Sends it; gives the object.
    ///
    /// # Errors
    /// It is refused, or there is no answer.
    pub async fn accepted(&self, client: &Client) -> Result<Value> {
        match self.answer(client).await? {
            Ok(object) => Ok(object),
            Err(status) => bail!("{} {}: {} {}: {}", self.method, self.path, status.code, status.reason, status.message),
        }
    }

    /// Sends it; gives the refusal.
    ///
    /// # Errors
    /// It is accepted, or there is no answer.
    pub async fn refused(&self, client: &Client) -> Result<Box<Status>> {
        match self.answer(client).await? {
            Ok(object) => bail!("{} {} is not refused: {object}", self.method, self.path),
            Err(status) => Ok(status),
        }
    }

    /// Sends it again and again until the answer is as wanted.
    ///
    /// # Errors
    /// It is not in time, or there is no answer.
    pub async fn until(&self, client: &Client, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.answer(client).await?;
            if wanted(&answer) {
                return Ok(answer);
            }
            if Instant::now() > until {
                bail!("{} {}: still, after {} s: {answer:?}", self.method, self.path, PATIENCE.as_secs());
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn new(method: Method, path: &str, body: Option<&Value>) -> Self {
        let content = "application/json";
        Self { method, path: path.to_owned(), parameters: Vec::new(), content, body: body.cloned(), user: None, groups: Vec::new() }
    }

    fn request(&self) -> Result<Request<Vec<u8>>> {
        let uri = format!("{}?{}", self.path, self.parameters.join("&"));
        let mut request = Request::builder().method(self.method.clone()).uri(uri).header(CONTENT_TYPE, self.content);
        if let Some(user) = &self.user {
            request = request.header(IMPERSONATED_USER, user);
        }
        for group in &self.groups {
            request = request.header(IMPERSONATED_GROUP, group);
        }
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        request.body(body.into_bytes()).context("make a request")
    }
}
