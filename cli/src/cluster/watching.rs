//! What is shown again and again, whenever it has changed: drawn over on a terminal, printed elsewhere.

use tokio::time::{sleep, timeout};

use super::access::Cluster;
use super::error::ClusterError;
use super::limits::{DRAWN_AGAIN, LOOK_AGAIN};
use crate::terminal::{self, Live, Picture};

/// Looks again and again, until it is interrupted, which leaves the last picture where it is.
///
/// # Errors
/// The first look fails, or nothing can be written any more. A later look that fails is said, and repeated.
pub(super) async fn watch<P: Picture + Clone + PartialEq>(
    cluster: &Cluster,
    look: impl AsyncFn() -> Result<P, ClusterError>,
) -> Result<(), ClusterError> {
    let mut live = terminal::is_terminal().then(Live::new);
    let mut shown: Option<P> = None;
    loop {
        match look().await {
            Err(error) if shown.is_none() => return Err(error),
            Err(error) => report(&mut live, &error)?,
            Ok(picture) if live.is_none() && shown.as_ref() == Some(&picture) => {}
            Ok(picture) => {
                match &mut live {
                    Some(live) => live.draw(picture.clone()).map_err(ClusterError::Write)?,
                    None => print(&picture, shown.is_some())?,
                }
                shown = Some(picture);
            }
        }
        sleep(DRAWN_AGAIN).await;
        // What may not be watched changes unheard, as the size of a terminal does.
        let _nothing_heard = timeout(LOOK_AGAIN, cluster.changed()).await;
    }
}

fn report<P: Picture>(live: &mut Option<Live<P>>, error: &ClusterError) -> Result<(), ClusterError> {
    let line = format!("warning: {error}");
    match live {
        Some(live) => live.print(line.as_bytes()).map_err(ClusterError::Write),
        None => {
            eprintln!("{line}");
            Ok(())
        }
    }
}

/// An empty line parts two pictures.
fn print(picture: &impl Picture, follows: bool) -> Result<(), ClusterError> {
    let mut lines = picture.lines(usize::MAX, usize::MAX);
    if follows {
        lines.insert(0, Vec::new());
    }
    terminal::print(&lines).map_err(ClusterError::Write)
}
