use super::*;
use crate::time::WallTime;

fn at(n: i64) -> WallTime {
    WallTime::from_unix_secs(1_795_305_600 + n * 60)
}

pub(in crate::store) fn incident(n: i64, state: IncidentState) -> Incident {
    let id = Incident::id(at(n), "hq", 1);
    let text = format!(
        r#"{{"schema":1,"id":"{id}","target":"hq","kind":"outage","state":"{state}","began":"{}",
           "ended":null,"seconds":null,"cause":null,"clues":[]}}"#,
        at(n)
    );
    serde_json::from_str(&text).unwrap()
}

fn ids(shelf: &Shelf) -> Vec<String> {
    shelf.list().into_iter().map(|summary| summary.id).collect()
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_put_is_written_listed_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(Some(directory.path().to_owned()), 1 << 20);
    for n in [2, 1, 3] {
        shelf.put(incident(n, IncidentState::Open));
        shelf.write().unwrap();
    }
    shelf.put(incident(2, IncidentState::Closed));
    assert_eq!(shelf.show(&incident(2, IncidentState::Open).id).unwrap().state, IncidentState::Closed);
    shelf.write().unwrap();
    let expected: Vec<_> = [3, 2, 1].map(|n| incident(n, IncidentState::Open).id).into();
    assert_eq!(ids(&shelf), expected);
    assert_eq!(files(directory.path()).len(), 3);
    assert_eq!(read(directory.path(), &expected[1]).unwrap(), incident(2, IncidentState::Closed));
    for wrong in ["", "nothing", "../state", "20261122T000000000Z-hq-9999", "20261122/x", &"2".repeat(106)] {
        assert!(matches!(read(directory.path(), wrong), Err(Unshown::None)), "{wrong}");
        assert!(matches!(shelf.show(wrong), Err(Unshown::None)), "{wrong}");
    }
}

#[test]
fn the_oldest_that_are_over_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let one = serde_json::to_vec(&incident(0, IncidentState::Open)).unwrap().len() as u64;
    let shelf = Shelf::new(Some(directory.path().to_owned()), 10 * one);
    shelf.put(incident(0, IncidentState::Open));
    for n in 1..30 {
        shelf.put(incident(n, IncidentState::Closed));
        shelf.write().unwrap();
    }
    let left = ids(&shelf);
    assert!((5..=10).contains(&left.len()), "{left:?}");
    assert_eq!(left.first(), Some(&incident(29, IncidentState::Open).id));
    assert_eq!(left.last(), Some(&incident(0, IncidentState::Open).id), "it is open");
    assert_eq!(files(directory.path()).len(), left.len());
}

#[test]
fn without_a_directory_the_latest_are_held() {
    let shelf = Shelf::new(None, 0);
    for n in 0..200 {
        shelf.put(incident(n, IncidentState::Closed));
        shelf.write().unwrap();
    }
    assert_eq!(ids(&shelf).len(), HELD);
    assert_eq!(shelf.show(&ids(&shelf)[0]).unwrap().began, at(199));
}

#[test]
fn what_cannot_be_written_is_held_and_written_later() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the folder should be: root cannot write there either.
    fs::write(folder(directory.path()), "").unwrap();
    let shelf = Shelf::new(Some(directory.path().to_owned()), 1 << 20);
    for n in 0..200 {
        shelf.put(incident(n, IncidentState::Closed));
        assert!(shelf.write().is_err());
    }
    assert_eq!(ids(&shelf).len(), HELD);
    fs::remove_file(folder(directory.path())).unwrap();
    shelf.write().unwrap();
    assert_eq!(files(directory.path()).len(), HELD);
}

#[test]
fn what_an_earlier_process_left_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let before = Shelf::new(Some(directory.path().to_owned()), 1 << 20);
    for n in 0..3 {
        before.put(incident(n, IncidentState::Open));
    }
    before.write().unwrap();
    let inside = folder(directory.path());
    let [first, second, third] = [0, 1, 2].map(|n| incident(n, IncidentState::Open).id);
    fs::write(inside.join(name(&second)), "{\"schema\":1,\"id\"").unwrap();
    fs::write(inside.join(".x.json.tmp"), "half").unwrap();
    for n in 0..20 {
        fs::write(inside.join(format!("{n:02}.json.bad")), "").unwrap();
    }
    fs::write(inside.join("README"), "of somebody").unwrap();
    let shelf = Shelf::new(Some(directory.path().to_owned()), 1 << 20);
    shelf.take_stock(directory.path(), &HashSet::from([first.clone()])).unwrap();
    assert_eq!(ids(&shelf), [third.clone(), first.clone()]);
    assert_eq!(shelf.show(&first).unwrap().state, IncidentState::Open);
    assert_eq!(read(directory.path(), &third).unwrap().state, IncidentState::Closed, "its end was not seen");
    let names = files(directory.path());
    assert!(names.contains(&format!("{second}.json.bad")) && names.contains(&"README".to_owned()));
    assert!(!names.contains(&".x.json.tmp".to_owned()));
    assert_eq!(names.iter().filter(|name| file::is_bad(name)).count(), BAD);
}

#[test]
fn a_file_of_another_version_or_name_is_no_incident() {
    let directory = tempfile::tempdir().unwrap();
    let id = incident(1, IncidentState::Open).id;
    let good = serde_json::to_string(&incident(1, IncidentState::Open)).unwrap();
    let inside = folder(directory.path());
    for (content, whole) in [
        (good.clone(), true),
        (good.replacen("\"schema\":1", "\"schema\":2", 1), false),
        (good.replacen(&id, "20261122T000000000Z-other-0001", 1), false),
        (good.replacen("outage", "<script>", 1), false),
        (good[..good.len() - 1].to_owned(), false),
    ] {
        file::write(&inside, &name(&id), content.as_bytes()).unwrap();
        assert_eq!(read(directory.path(), &id).is_ok(), whole, "{content}");
        assert_eq!(look(directory.path()).unwrap().incidents.len(), usize::from(whole));
    }
}
