//! The cluster and its user's rights: everything is read and changed as Kubernetes objects, by nobody else's.

use std::fmt::Debug;

use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Client, Config, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use strobe_crds::{ParallelJob, Partition};

use super::error::ClusterError;
use super::following::Following;
use super::limits::CONNECT_TIME;
use crate::arguments::ClusterOptions;

/// A cluster that is asked.
pub(super) struct Cluster {
    client: Client,
    /// The namespace that is meant.
    pub(super) namespace: String,
    address: String,
    /// What is followed; none where each look asks.
    following: Option<Following>,
}

/// What was listed, and what is to be said of it.
#[derive(Debug)]
pub(super) struct Listed<K> {
    /// The objects.
    pub(super) items: Vec<K>,
    /// What could not be read, in words.
    pub(super) notes: Vec<String>,
}

impl<K> Default for Listed<K> {
    fn default() -> Self {
        Self { items: Vec::new(), notes: Vec::new() }
    }
}

impl Cluster {
    /// The cluster that the options name, as kubectl would find it.
    ///
    /// # Errors
    /// No cluster is configured, or not so that one can be asked.
    pub(super) async fn connect(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let mut configuration = configuration(options).await?;
        configuration.connect_timeout = Some(CONNECT_TIME);
        let address = configuration.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = options.namespace.clone().unwrap_or_else(|| configuration.default_namespace.clone());
        let client = Client::try_from(configuration)
            .map_err(|source| ClusterError::BadConfiguration { address: address.clone(), source: Box::new(source) })?;
        Ok(Self { client, namespace, address, following: None })
    }

    /// The same cluster, whose objects are watched from the first look at them on.
    pub(super) fn followed(self) -> Self {
        Self { following: Some(Following::default()), ..self }
    }

    /// Resolves when something that is followed has changed since the last time; never where nothing is.
    pub(super) async fn changed(&self) {
        match &self.following {
            Some(following) => following.changed().await,
            None => std::future::pending().await,
        }
    }

    /// The client.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What an answer means.
    pub(super) fn failed(&self, what: impl Into<String>, error: kube::Error) -> ClusterError {
        ClusterError::answered(what.into(), &self.address, error)
    }

    /// A job of the namespace.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub(super) async fn job(&self, name: &str) -> Result<ParallelJob, ClusterError> {
        let jobs: Api<ParallelJob> = Api::namespaced(self.client(), &self.namespace);
        let what = || format!("ParallelJob {name:?} in namespace {:?}", self.namespace);
        jobs.get(name).await.map_err(|error| self.failed(what(), error))
    }

    /// A partition.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub(super) async fn partition(&self, name: &str) -> Result<Partition, ClusterError> {
        if self.following.is_some() {
            let found = if_allowed(self.everywhere(&ListParams::default().fields(&format!("metadata.name={name}"))).await)?;
            if let Some(partition) = found.items.into_iter().next() {
                return Ok(partition);
            }
        }
        let partitions: Api<Partition> = Api::all(self.client());
        partitions.get(name).await.map_err(|error| self.failed(format!("Partition {name:?}"), error))
    }

    /// All objects of a kind, in all namespaces where it has any.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub(super) async fn everywhere<K>(&self, chosen: &ListParams) -> Result<Listed<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.list(Api::all(self.client()), chosen, K::plural(&()).into_owned()).await
    }

    /// The objects of a kind in the namespace.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub(super) async fn here<K>(&self, chosen: &ListParams) -> Result<Listed<K>, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let what = format!("{} of namespace {:?}", K::plural(&()), self.namespace);
        self.list(Api::namespaced(self.client(), &self.namespace), chosen, what).await
    }

    /// The objects of a kind in as many namespaces as the user may read: all, or that which is meant, or none.
    ///
    /// # Errors
    /// See [`ClusterError`]; what is forbidden is a note.
    pub(super) async fn as_allowed<K>(&self, chosen: &ListParams) -> Result<Listed<K>, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        match self.everywhere(chosen).await {
            Err(ClusterError::Forbidden { .. }) => {}
            other => return other,
        }
        let (kinds, namespace) = (K::plural(&()), &self.namespace);
        let mut listed = if_allowed(self.here(chosen).await)?;
        if listed.notes.is_empty() {
            listed.notes.push(format!("you may list {kinds} of namespace {namespace:?} alone; others are not shown"));
        }
        Ok(listed)
    }

    async fn list<K>(&self, api: Api<DeserializeGuard<K>>, chosen: &ListParams, what: String) -> Result<Listed<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let found = match &self.following {
            Some(following) => following.objects(&api, chosen).await,
            None => api.list(chosen).await.map(|listed| listed.items),
        };
        let mut listed = Listed::default();
        for object in found.map_err(|error| self.failed(what, error))? {
            let name = object.name_any();
            match object.0 {
                Ok(object) => listed.items.push(object),
                Err(error) => listed.notes.push(format!("{} {name:?} cannot be read, and is left out: {error}", K::kind(&()))),
            }
        }
        Ok(listed)
    }
}

/// What may not be read, or is not there to be read, is nothing with a note.
///
/// # Errors
/// All others.
pub(super) fn if_allowed<K>(listed: Result<Listed<K>, ClusterError>) -> Result<Listed<K>, ClusterError> {
    match listed {
        Err(error @ (ClusterError::Forbidden { .. } | ClusterError::NotInstalled { .. })) => {
            Ok(Listed { items: Vec::new(), notes: vec![error.to_string()] })
        }
        other => other,
    }
}

async fn configuration(options: &ClusterOptions) -> Result<Config, ClusterError> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let configured = match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .map_err(|source| ClusterError::BadFile { path: path.display().to_string(), source: Box::new(source) })?;
            Config::from_custom_kubeconfig(file, &chosen).await
        }
        // In a pod there may be none, but a service account.
        None if options.context.is_none() => {
            return Config::infer().await.map_err(|source| ClusterError::NoConfiguration { source: Box::new(source) });
        }
        None => Config::from_kubeconfig(&chosen).await,
    };
    configured.map_err(|source| ClusterError::NoContext { source: Box::new(source) })
}
