//! Local time, gaps and overlaps.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn calendar(from_minute: i64, to_minute: i64) -> Calendar {
    Calendar {
        hours: Some(ContactHours {
            line: 1,
            from_minute,
            to_minute,
        }),
        ..Calendar::default()
    }
}

fn person(zone: &str, region: &str) -> Addressee {
    Addressee {
        role: None,
        contact: None,
        time_zone: Some(zone.to_owned()),
        region: Some(region.to_owned()),
    }
}

#[track_caller]
fn check(calendar: &Calendar, zone: &str, from: &str, expected: &str) {
    let sending = calendar.sending(at(from), &person(zone, "emea")).unwrap();
    assert_eq!(sending.at, at(expected), "{zone} {from}: {sending:?}");
    let local = sending.local.unwrap();
    assert!(calendar.hours.as_ref().unwrap().allow(local), "{local:?}");
}

#[test]
fn inside_the_hours_it_is_sent_at_once_and_outside_at_the_next_opening() {
    let day = calendar(480, 1080);
    check(&day, "Europe/Berlin", "2026-06-10T10:00:00Z", "2026-06-10T10:00:00Z");
    check(&day, "Europe/Berlin", "2026-06-10T05:59:59Z", "2026-06-10T06:00:00Z");
    check(&day, "Europe/Berlin", "2026-06-10T16:00:00Z", "2026-06-11T06:00:00Z");
    check(&day, "Europe/Berlin", "2026-06-12T16:00:00Z", "2026-06-15T06:00:00Z");
    check(&day, "Asia/Kolkata", "2026-06-10T20:00:00Z", "2026-06-11T02:30:00Z");
    check(&day, "America/New_York", "2026-06-10T10:00:00Z", "2026-06-10T12:00:00Z");
}

#[test]
fn the_opening_follows_the_clock_when_summer_time_begins_and_ends() {
    let day = calendar(480, 1080);
    // Berlin: 29 March and 25 October 2026; New York: 8 March and 1 November.
    check(&day, "Europe/Berlin", "2026-03-27T18:00:00Z", "2026-03-30T06:00:00Z");
    check(&day, "Europe/Berlin", "2026-10-23T17:00:00Z", "2026-10-26T07:00:00Z");
    check(&day, "America/New_York", "2026-03-06T23:30:00Z", "2026-03-09T12:00:00Z");
    check(&day, "America/New_York", "2026-10-30T23:30:00Z", "2026-11-02T13:00:00Z");
}

#[test]
fn an_hour_that_does_not_exist_and_one_that_comes_twice_are_read_by_the_clock() {
    // Cairo puts its clock forward at midnight of a Friday: 24 April 2026 has no 00:00 to 00:59.
    let night = calendar(30, 120);
    check(&night, "Africa/Cairo", "2026-04-23T21:00:00Z", "2026-04-23T22:30:00Z");
    let gone = calendar(0, 60);
    check(&gone, "Africa/Cairo", "2026-04-23T21:00:00Z", "2026-04-26T21:00:00Z");
    // And back on Thursday, 29 October 2026, at midnight: 23:00 to 23:59 of that day come twice.
    let late = calendar(1380, 1410);
    check(&late, "Africa/Cairo", "2026-10-29T18:00:00Z", "2026-10-29T20:00:00Z");
    // The second pass is inside, by the clock on the wall; between them it is not.
    check(&late, "Africa/Cairo", "2026-10-29T21:10:00Z", "2026-10-29T21:10:00Z");
    let between = at("2026-10-29T20:45:00Z");
    let whom = person("Africa/Cairo", "emea");
    assert!(late.sending(between, &whom).unwrap().at > between);
}

#[test]
fn holidays_of_the_region_and_of_all_are_no_days_to_write() {
    let mut table = calendar(480, 1080);
    table.holidays = [
        ("emea".to_owned(), [Day::from_ymd(2026, 6, 10).unwrap()].into()),
        (EVERYWHERE.to_owned(), [Day::from_ymd(2026, 6, 11).unwrap()].into()),
    ]
    .into();
    check(&table, "Europe/Berlin", "2026-06-10T10:00:00Z", "2026-06-12T06:00:00Z");
    let elsewhere = table.sending(at("2026-06-10T10:00:00Z"), &person("Europe/Berlin", "apac"));
    assert_eq!(elsewhere.unwrap().at, at("2026-06-10T10:00:00Z"));
}

#[test]
fn an_unknown_zone_is_the_default_one_or_not_known() {
    let mut table = calendar(480, 1080);
    let night = at("2026-06-10T02:00:00Z");
    let nobody = person("Mars/Olympus", "emea");
    assert_eq!(table.sending(night, &nobody).unwrap().local, None);
    assert_eq!(table.local(night, &Addressee::default()), None);
    table.default_zone = Some("Europe/Berlin".to_owned());
    assert_eq!(table.sending(night, &nobody).unwrap().at, at("2026-06-10T06:00:00Z"));
}

#[test]
fn hours_that_never_come_are_told_apart() {
    let mut table = calendar(480, 1080);
    let mut day = Day::from_ymd(2026, 6, 1).unwrap();
    let mut all = BTreeSet::new();
    for _ in 0..400 {
        all.insert(day);
        day = day.plus(1);
    }
    table.holidays = [(EVERYWHERE.to_owned(), all)].into();
    assert_eq!(
        table.sending(at("2026-06-10T02:00:00Z"), &person("Europe/Berlin", "")),
        None
    );
}

#[test]
fn hours_are_written_as_two_times_of_a_day() {
    assert_eq!(parse_hours("08:00-18:00"), Some((480, 1080)));
    assert_eq!(parse_hours("00:00 - 24:00"), Some((0, 1440)));
    for wrong in [
        "8-18",
        "18:00-08:00",
        "08:00",
        "08:60-09:00",
        "08:00-24:30",
        "-1:00-08:00",
    ] {
        assert_eq!(parse_hours(wrong), None, "{wrong}");
    }
}
