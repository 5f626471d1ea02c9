use std::sync::atomic::AtomicUsize;

use super::shelf::tests::incident;
use super::*;
use crate::budget::KeptBudget;
use crate::detect::Knowledge;
use crate::detect::incident::IncidentState;

const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);

struct Opened {
    store: Store,
    kept: Option<(Timestamp, Snapshot)>,
    failures: Arc<AtomicUsize>,
}

fn open(directory: Option<&Path>) -> Opened {
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let settings = Settings { directory: directory.map(Path::to_owned), most_bytes: 1 << 20 };
    let (store, kept) = Store::open(&settings, WALL, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    Opened { store, kept, failures }
}

fn snapshot(secs: u64) -> Snapshot {
    Snapshot::new(Timestamp::from_secs(secs), WALL, Knowledge::default(), KeptBudget::default())
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_one_process_hands_over_the_next_one_has() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { store, kept, failures } = open(Some(directory.path()));
    assert!(kept.is_none());
    let feed = store.feed().unwrap();
    assert_eq!(feed.pause(), Some(PAUSE));
    feed.state(snapshot(1));
    feed.incident(Box::new(incident(1, IncidentState::Closed)));
    feed.state(snapshot(2));
    drop(feed);
    store.close(LONG);
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    let Opened { store, kept, .. } = open(Some(directory.path()));
    assert_eq!(kept.unwrap().0, Timestamp::from_secs(2));
    let shelf = store.shelf();
    store.close(LONG);
    assert_eq!(shelf.list().len(), 1);
}

#[test]
fn a_directory_belongs_to_one_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(Some(directory.path()));
    let second = open(Some(directory.path()));
    assert_eq!(second.failures.load(Ordering::Relaxed), 1);
    let feed = second.store.feed().unwrap();
    assert_eq!(feed.pause(), None, "it keeps nothing");
    feed.incident(Box::new(incident(1, IncidentState::Closed)));
    drop(feed);
    let shelf = second.store.shelf();
    second.store.close(LONG);
    assert_eq!(shelf.list().len(), 1, "but shows the latest incidents");
    assert!(!shelf::folder(directory.path()).exists());
    first.store.close(LONG);
}

#[test]
fn a_directory_that_cannot_be_used_stops_nothing_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("state");
    std::fs::write(&blocked, "a file").unwrap();
    let Opened { store, kept, failures } = open(Some(&blocked));
    assert!(kept.is_none() && failures.load(Ordering::Relaxed) > 0);
    let feed = store.feed().unwrap();
    feed.incident(Box::new(incident(1, IncidentState::Closed)));
    feed.state(snapshot(1));
    let shelf = store.shelf();
    while shelf.list().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(&blocked).unwrap();
    feed.state(snapshot(2));
    drop(feed);
    store.close(LONG);
    assert!(blocked.join(state::FILE).exists());
    assert_eq!(shelf::look(&blocked).unwrap().incidents.len(), 1);
}

#[test]
fn a_damaged_state_is_set_aside_and_the_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(state::FILE);
    for content in [
        &b""[..],
        b"{}",
        b"{\"schema\":9}\n{}",
        &[0xff; 4096],
        b"{\"schema\":1,\"bytes\":2,\"sha256\":\"\"}\n{}",
    ] {
        std::fs::write(&path, content).unwrap();
        let Opened { store, kept, .. } = open(Some(directory.path()));
        assert!(kept.is_none());
        store.close(LONG);
        assert!(!path.exists());
        assert_eq!(std::fs::read(directory.path().join("state.json.bad")).unwrap(), content);
    }
    // Nothing is wrong with the file itself if the clock was set back.
    std::fs::write(&path, snapshot(1).to_bytes().unwrap()).unwrap();
    let early = WALL.before(Duration::from_secs(1));
    assert!(load(directory.path(), early, false).is_none());
    assert!(path.exists());
}

#[test]
fn without_a_directory_no_state_is_wanted() {
    let Opened { store, kept, failures } = open(None);
    assert!(kept.is_none());
    assert_eq!(store.feed().unwrap().pause(), None);
    store.close(LONG);
    assert_eq!(failures.load(Ordering::Relaxed), 0);
}
