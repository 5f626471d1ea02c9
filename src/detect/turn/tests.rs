use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// A trace a minute up to 2000 s, as `shown` has it; the target fell from 1000 s to 1040 s.
fn hear(shown: impl Fn(u64) -> Shown) -> Turn {
    let mut sights = Sights::default();
    for minute in 0..19 {
        let seconds = minute * 60 + 10;
        sights.push(Sight { began: at(seconds), at: at(seconds), shown: shown(seconds) });
    }
    sights.hear(Window { from: at(1000), to: at(1040), serving: false })
}

fn change(since: u64) -> PathChange {
    PathChange { from: 1, to: 2, since: at(since), hop: 3, runs: 3 }
}

#[test]
fn the_old_path_is_known_by_the_hop_that_changed() {
    // Traces are at 970, 1030 and 1090 s.
    let turned = |cut: u8| {
        hear(|now| match now {
            0..1000 => Shown::Same,
            1000..1060 => Shown::Cut { hop: cut, of: 6 },
            _ => Shown::Changed(change(1090)),
        })
    };
    assert_eq!(turned(2), Turn::Turned { change: change(1090), old: at(970) });
    assert_eq!(turned(3), Turn::Turned { change: change(1090), old: at(1030) });
}

#[test]
fn a_change_at_another_time_is_told_as_that() {
    let changed = |since: u64| {
        hear(|now| match now {
            _ if now < since => Shown::Same,
            _ if now == since => Shown::Changed(change(since)),
            _ => Shown::Same,
        })
    };
    assert_eq!(changed(910), Turn::Elsewhen { change: change(910), old: at(850) });
    assert_eq!(changed(970), Turn::Elsewhen { change: change(970), old: at(910) });
    assert_eq!(changed(1030), Turn::Turned { change: change(1030), old: at(970) });
    // The old one was seen as it was over, or after.
    assert_eq!(
        hear(|now| if now == 1090 { Shown::Changed(change(1050)) } else { Shown::Same }),
        Turn::Turned { change: change(1050), old: at(1030) }
    );
    assert_eq!(changed(310), Turn::Stayed(at(1090)));
}

#[test]
fn what_was_seen_too_long_before_proves_nothing() {
    let mut sights = Sights::default();
    sights.push(Sight { began: at(100), at: at(100), shown: Shown::Same });
    sights.push(Sight { began: at(1050), at: at(1050), shown: Shown::Changed(change(1030)) });
    let window = Window { from: at(1000), to: at(1040), serving: false };
    assert_eq!(sights.hear(window), Turn::Elsewhen { change: change(1030), old: at(100) });
    let mut sights = Sights::default();
    sights.push(Sight { began: at(1050), at: at(1050), shown: Shown::Changed(change(1030)) });
    assert_eq!(sights.hear(window), Turn::NotSeen, "nothing is known of the old one");
}

#[test]
fn of_those_alike_the_first_and_the_last_are_kept() {
    let mut sights = Sights::default();
    for seconds in 0..1000 {
        sights.push(Sight { began: at(seconds), at: at(seconds), shown: Shown::Same });
    }
    assert_eq!(sights.0.iter().map(|sight| sight.at).collect::<Vec<_>>(), [at(0), at(999)]);
    for seconds in 1000..2000 {
        let shown = if seconds % 2 == 0 { Shown::New(1) } else { Shown::Same };
        sights.push(Sight { began: at(seconds), at: at(seconds), shown });
    }
    assert_eq!(sights.0.len(), Sights::MOST);
}

#[test]
fn a_trace_under_way_as_it_ends_proves_nothing() {
    let window = Window { from: at(1000), to: at(1040), serving: false };
    let mut sights = Sights::default();
    sights.push(Sight { began: at(1038), at: at(1044), shown: Shown::Same });
    assert_eq!(sights.hear(window), Turn::NotSeen);
    sights.push(Sight { began: at(1041), at: at(1045), shown: Shown::Same });
    assert_eq!(sights.hear(window), Turn::Stayed(at(1045)));
}
