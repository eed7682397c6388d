//! What is shown for long is followed: each kind of object is listed once and watched from then on, so that another look at it asks
//! nobody.

use std::any::Any;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt as _};
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Error, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// The kinds that are followed, each from the first look at it on.
#[derive(Default)]
pub(super) struct Following {
    selections: Mutex<Vec<(Selection, Arc<dyn Any + Send + Sync>)>>,
    changed: Arc<Notify>,
}

/// Which objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selection {
    /// Where the API server has them: their kind, and the namespace where it is one alone.
    url: String,
    chosen: [Option<String>; 2],
}

/// The objects of a selection, as they are now.
struct Objects<K: Resource<DynamicType = ()> + 'static> {
    store: Store<DeserializeGuard<K>>,
    state: Mutex<State>,
}

/// How watching goes.
enum State {
    Watched,
    /// It failed, which was not said yet. It is tried again.
    Failed(Error),
    /// The user may list, and not watch: there is nothing but to list again.
    Forbidden,
}

type Events<K> = Pin<Box<dyn Stream<Item = Result<watcher::Event<DeserializeGuard<K>>, watcher::Error>> + Send>>;

// === impl Following ===

impl Following {
    /// The objects that the API server would list now.
    ///
    /// # Errors
    /// Its answer to the list; later what has ended the watch, once each time.
    pub(super) async fn objects<K>(&self, api: &Api<DeserializeGuard<K>>, chosen: &ListParams) -> Result<Vec<DeserializeGuard<K>>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let selection =
            Selection { url: api.resource_url().to_owned(), chosen: [chosen.label_selector.clone(), chosen.field_selector.clone()] };
        let objects = match self.known::<K>(&selection) {
            Some(objects) => objects,
            None => self.follow(api, selection).await?,
        };
        match objects.take_state() {
            State::Watched => Ok(objects.sorted()),
            State::Failed(error) => Err(error),
            State::Forbidden => api.list(chosen).await.map(|listed| listed.items),
        }
    }

    /// Resolves when something has changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn known<K: Resource<DynamicType = ()> + Send + Sync + 'static>(&self, selection: &Selection) -> Option<Arc<Objects<K>>>
    where
        DeserializeGuard<K>: Send + Sync,
    {
        let selections = self.selections();
        let (_, objects) = selections.iter().find(|(known, _)| known == selection)?;
        // Two kinds are never at one place.
        Arc::clone(objects).downcast().ok()
    }

    /// Lists, and watches from then on.
    async fn follow<K>(&self, api: &Api<DeserializeGuard<K>>, selection: Selection) -> Result<Arc<Objects<K>>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let [label_selector, field_selector] = selection.chosen.clone();
        let configuration = watcher::Config { label_selector, field_selector, ..watcher::Config::default() };
        let mut events: Events<K> = Box::pin(reflector::reflector(writer, watcher(api.clone(), configuration).default_backoff()));
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitDone) => break,
                Err(watcher::Error::InitialListFailed(error)) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let objects = Arc::new(Objects { store, state: Mutex::new(State::Watched) });
        self.selections().push((selection, Arc::clone(&objects) as Arc<dyn Any + Send + Sync>));
        tokio::spawn(take_in(events, Arc::clone(&objects), Arc::clone(&self.changed)));
        Ok(objects)
    }

    fn selections(&self) -> MutexGuard<'_, Vec<(Selection, Arc<dyn Any + Send + Sync>)>> {
        self.selections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in what happens to the objects.
async fn take_in<K>(mut events: Events<K>, objects: Arc<Objects<K>>, changed: Arc<Notify>)
where
    K: Resource<DynamicType = ()> + Clone,
{
    while let Some(event) = events.next().await {
        let state = match event {
            // A list that has begun does not have them all.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
            Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => State::Watched,
            Err(watcher::Error::WatchStartFailed(Error::Api(answer))) if answer.code == 403 => State::Forbidden,
            Err(
                watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error),
            ) => State::Failed(error),
            // It is listed anew: what was to be watched from is too long ago.
            Err(watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion) => continue,
        };
        let is_forbidden = matches!(state, State::Forbidden);
        *objects.state() = state;
        changed.notify_one();
        if is_forbidden {
            return;
        }
    }
}

// === impl Objects ===

impl<K: Resource<DynamicType = ()> + Clone> Objects<K> {
    /// In the API server's own order.
    fn sorted(&self) -> Vec<DeserializeGuard<K>> {
        let mut found: Vec<DeserializeGuard<K>> = self.store.state().iter().map(|object| DeserializeGuard::clone(object)).collect();
        found.sort_by_cached_key(|object| (object.namespace(), object.name_any()));
        found
    }
}

impl<K: Resource<DynamicType = ()>> Objects<K> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How watching goes: a failure is told once.
    fn take_state(&self) -> State {
        let mut state = self.state();
        match &*state {
            State::Watched | State::Failed(_) => std::mem::replace(&mut *state, State::Watched),
            State::Forbidden => State::Forbidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::{Client, Config};
    use serde_json::{Value, json};
    use strobe_crds::Partition;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;
    use crate::cluster::fixture::partition;

    /// An API server of partitions.
    struct Server {
        client: Client,
        /// How often it listed.
        lists: Arc<AtomicUsize>,
        /// What is to be heard by whoever watches.
        added: watch::Sender<Vec<String>>,
    }

    fn object(name: &str) -> Value {
        let mut object = serde_json::to_value(partition(name, &json!({}))).unwrap();
        object["metadata"]["resourceVersion"] = json!("1");
        object
    }

    async fn say(stream: &mut BufReader<TcpStream>, status: &str, body: &Value) {
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
    }

    /// Adds what it is told, for as long as it is told anything.
    async fn tell(stream: &mut BufReader<TcpStream>, added: &mut watch::Receiver<Vec<String>>) {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while added.changed().await.is_ok() {
            let names = added.borrow_and_update().clone();
            let line = format!("{}\n", json!({ "type": "ADDED", "object": object(names.last().unwrap()) }));
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
        }
    }

    async fn serve(stream: TcpStream, may_watch: bool, lists: Arc<AtomicUsize>, mut added: watch::Receiver<Vec<String>>) {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            let asked = std::mem::take(&mut line);
            while stream.read_line(&mut line).await.unwrap() > 2 {
                line.clear();
            }
            line.clear();
            if !asked.contains("watch=") {
                lists.fetch_add(1, Ordering::SeqCst);
                let (version, kind) = ("strobe.dev/v1alpha1", "PartitionList");
                let list = json!({ "apiVersion": version, "kind": kind, "metadata": { "resourceVersion": "1" }, "items": [object("a")] });
                say(&mut stream, "200 OK", &list).await;
            } else if may_watch {
                return tell(&mut stream, &mut added).await;
            } else {
                let refusal =
                    json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "you may not" });
                say(&mut stream, "403 Forbidden", &refusal).await;
            }
        }
    }

    async fn server(may_watch: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (lists, added) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(Vec::new()));
        let (counted, told) = (Arc::clone(&lists), added.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, may_watch, Arc::clone(&counted), told.clone()));
            }
        });
        Server { client: Client::try_from(Config::new(url)).unwrap(), lists, added }
    }

    async fn names(following: &Following, server: &Server) -> Vec<String> {
        let api: Api<DeserializeGuard<Partition>> = Api::all(server.client.clone());
        let found = following.objects(&api, &ListParams::default()).await.unwrap();
        found.iter().map(DeserializeGuard::name_any).collect()
    }

    #[tokio::test]
    async fn another_look_asks_nobody_and_sees_what_has_changed() {
        let (server, following) = (server(true).await, Following::default());
        assert_eq!(names(&following, &server).await, ["a"]);
        assert_eq!(names(&following, &server).await, ["a"]);
        for name in ["c", "b"] {
            server.added.send_modify(|added| added.push(name.to_owned()));
            following.changed().await;
        }
        assert_eq!(names(&following, &server).await, ["a", "b", "c"]);
        assert_eq!(server.lists.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_may_be_listed_and_not_watched_is_listed_at_each_look() {
        let (server, following) = (server(false).await, Following::default());
        assert_eq!(names(&following, &server).await, ["a"]);
        following.changed().await;
        assert_eq!(names(&following, &server).await, ["a"]);
        assert_eq!(names(&following, &server).await, ["a"]);
        assert_eq!(server.lists.load(Ordering::SeqCst), 3);
    }
}
