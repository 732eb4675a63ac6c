use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use graphql_transport::Status;

use super::{bounds::STALLED_AFTER, *};

/// The bytes that a test event takes in all.
const SIZE: usize = 1_000;
const HOUR: Duration = Duration::from_secs(3600);
const CURSORS: Shows = Shows {
    cursors: true,
    status: false,
};
const ALL: Shows = Shows {
    cursors: true,
    status: true,
};

fn event(number: usize) -> Event {
    let text = format!("{number:>width$}", width = SIZE - EVENT_BYTES);
    Event::Next {
        body: Bytes::from(text),
        cursor: None,
    }
}

fn ring(events_of_bytes: usize, wait_max: Duration) -> (Arc<EventRing>, Gauge) {
    let bounds = RingBounds {
        bytes_max: events_of_bytes * SIZE,
        events_max: usize::MAX,
        address_bytes_max: usize::MAX,
        wait_max,
    };
    let all_bytes = Gauge::default();
    let ring = EventRing::new(bounds, &all_bytes, AddressBytes::default());
    (ring, all_bytes)
}

/// Rings of one address, each for 100 events and together for so many.
fn rings_of_address<const N: usize>(events: usize) -> ([Arc<EventRing>; N], AddressBytes) {
    let bounds = RingBounds {
        bytes_max: 100 * SIZE,
        events_max: usize::MAX,
        address_bytes_max: events * SIZE,
        wait_max: HOUR,
    };
    let address = AddressBytes::default();
    let rings =
        [(); N].map(|()| EventRing::new(bounds.clone(), &Gauge::default(), Arc::clone(&address)));
    (rings, address)
}

/// What a client receives without waiting.
fn now(reader: &mut RingReader) -> Option<Result<usize, u64>> {
    match reader.next().now_or_never()? {
        Taken::Event(Event::Next { body, .. }) => {
            let text = std::str::from_utf8(&body).expect("text");
            Some(Ok(text.trim().parse().expect("a number")))
        }
        Taken::Missed(missed) => Some(Err(missed)),
        Taken::Event(_) | Taken::Status(..) | Taken::Closed => None,
    }
}

#[test]
fn what_all_have_taken_is_dropped() {
    let (ring, all_bytes) = ring(100, HOUR);
    let (mut one, mut other) = (ring.join(Shows::default()).0, ring.join(Shows::default()).0);
    ring.append(event(1));
    ring.append(event(2));
    assert_eq!(all_bytes.get(), 2 * SIZE as i64, "held once for both");
    assert_eq!((now(&mut one), now(&mut one)), (Some(Ok(1)), Some(Ok(2))));
    assert_eq!(now(&mut one), None);
    assert_eq!(now(&mut other), Some(Ok(1)));
    assert_eq!(all_bytes.get(), SIZE as i64);
    drop(other);
    assert_eq!(all_bytes.get(), 0, "nobody waits for it any more");
    let mut late = ring.join(Shows::default()).0;
    assert_eq!(now(&mut late), None);
    ring.append(event(3));
    assert_eq!((now(&mut one), now(&mut late)), (Some(Ok(3)), Some(Ok(3))));
    ring.append(event(4));
    drop((ring, one, late));
    assert_eq!(all_bytes.get(), 0);
}

#[test]
fn a_client_beyond_the_bound_loses_its_place_and_no_other_does() {
    let (ring, all_bytes) = ring(10, HOUR);
    let (mut slow, mut quick) = (ring.join(Shows::default()).0, ring.join(Shows::default()).0);
    for number in 0..15 {
        ring.push(event(number)).now_or_never().expect("at once");
        assert_eq!(now(&mut quick), Some(Ok(number)));
    }
    assert_eq!(all_bytes.get(), 10 * SIZE as i64);
    assert_eq!(now(&mut slow), Some(Err(5)));
}

#[tokio::test]
async fn a_burst_waits_for_the_quickest_client() {
    let (ring, _) = ring(10, HOUR);
    let mut one = ring.join(Shows::default()).0;
    let mut sent = 0;
    // Nothing but the client makes room.
    for received in 0..1000 {
        while ring.push(event(sent)).now_or_never().is_some() {
            sent += 1;
            assert!(sent <= received + 6, "half of the bound");
        }
        assert_eq!(now(&mut one), Some(Ok(received)));
    }
}

#[tokio::test]
async fn a_feed_that_waits_goes_on_when_the_client_reads() {
    let (ring, _) = ring(10, HOUR);
    let mut one = ring.join(Shows::default()).0;
    let feed = tokio::spawn(async move {
        for number in 0..1000 {
            ring.push(event(number)).await;
        }
        ring.close();
    });
    for number in 0..1000 {
        let Taken::Event(Event::Next { body, .. }) = one.next().await else {
            panic!("{number} is missing");
        };
        assert_eq!(body.trim_ascii_start(), number.to_string().as_bytes());
    }
    assert!(matches!(one.next().await, Taken::Closed));
    feed.await.expect("no panic");
}

#[test]
fn who_leaves_leaves_the_pace_to_the_others() {
    let (ring, _) = ring(10, HOUR);
    let (mut quick, mut steady) = (ring.join(Shows::default()).0, ring.join(Shows::default()).0);
    for number in 0..9 {
        ring.append(event(number));
        now(&mut quick);
    }
    assert!(!ring.is_full_for_all(SIZE));
    drop(quick);
    assert!(ring.is_full_for_all(SIZE));
    for number in 0..9 {
        assert_eq!(now(&mut steady), Some(Ok(number)));
    }
    assert!(!ring.is_full_for_all(SIZE));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_waited_for_once() {
    let (ring, all_bytes) = ring(10, Duration::from_millis(1));
    let mut stalled = ring.join(Shows::default()).0;
    for number in 0..10_000 {
        ring.push(event(number)).await;
    }
    assert!(all_bytes.get() <= 10 * SIZE as i64);
    assert_eq!(now(&mut stalled), Some(Err(9_990)));
}

#[tokio::test]
async fn a_feed_that_waits_goes_on_when_a_client_joins() {
    let (ring, _) = ring(10, HOUR);
    let mut stalled = ring.join(Shows::default()).0;
    (0..5).for_each(|number| ring.append(event(number)));
    let mut push = std::pin::pin!(ring.push(event(5)));
    assert!(push.as_mut().now_or_never().is_none());
    let mut joined = ring.join(Shows::default()).0;
    let pushed = push.as_mut().now_or_never();
    assert!(pushed.is_some(), "the new client has room");
    assert_eq!(now(&mut joined), Some(Ok(5)));
    assert_eq!(now(&mut stalled), Some(Ok(0)));
}

#[test]
fn who_does_not_read_gives_way_before_who_does() {
    let (stalled, _) = ring(100, HOUR);
    let (also_stalled, _) = ring(100, HOUR);
    let (quick, _) = ring(100, HOUR);
    let _clients = [
        stalled.join(Shows::default()).0,
        also_stalled.join(Shows::default()).0,
        quick.join(Shows::default()).0,
    ];
    stalled.append(event(0));
    (0..2).for_each(|number| also_stalled.append(event(number)));
    let stalled_since = Instant::now();
    while Instant::now() == stalled_since {}
    (0..9).for_each(|number| quick.append(event(number)));
    let now = stalled_since + STALLED_AFTER;
    let mut weights = [&quick, &stalled, &also_stalled].map(|ring| ring.eviction_priority(now));
    weights.sort_by_key(|weight| std::cmp::Reverse(*weight));
    let bytes = weights.map(|weight| weight.bytes / SIZE);
    assert_eq!(bytes, [2, 1, 9]);
}

/// Clients on several threads join, read at their own pace and leave, while the feed appends. Each
/// client receives the events after it joined, in order and without a gap, or learns how many it
/// missed. No client waits for ever, and no event is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_neither_lose_nor_repeat_an_event() {
    const EVENTS: usize = 3_000;
    let (ring, all_bytes) = ring(16, Duration::from_millis(1));
    let appended = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let clients: Vec<_> = (0..12_u64)
        .map(|seed| {
            let ring = Arc::clone(&ring);
            let appended = Arc::clone(&appended);
            tokio::spawn(client(ring, appended, fastrand::Rng::with_seed(seed)))
        })
        .collect();
    for number in 0..EVENTS {
        appended.store(number + 1, std::sync::atomic::Ordering::SeqCst);
        ring.push(event(number)).await;
        if number % 97 == 0 {
            ring.evict_half();
        }
    }
    ring.close();
    for client in clients {
        let ended = timeout(Duration::from_secs(60), client).await;
        ended.expect("nobody waits for ever").expect("in order");
    }
    assert_eq!(all_bytes.get(), 0);
    let state = ring.lock();
    assert_eq!((state.clients, state.slots.len()), (0, 0));
    assert_eq!((state.waiting, state.fresh), Default::default());
}

async fn client(
    ring: Arc<EventRing>,
    appended: Arc<std::sync::atomic::AtomicUsize>,
    mut random: fastrand::Rng,
) {
    loop {
        let before = appended.load(std::sync::atomic::Ordering::SeqCst);
        let mut reader = ring.join(Shows::default()).0;
        let from = appended.load(std::sync::atomic::Ordering::SeqCst);
        let mut expected: Option<usize> = None;
        let stays_for = random.usize(1..400);
        for _ in 0..stays_for {
            if random.u8(..) < 16 {
                tokio::task::yield_now().await;
            }
            // One that stops waiting loses nothing.
            let taken = match reader.next().now_or_never() {
                Some(taken) => taken,
                None => reader.next().await,
            };
            match taken {
                Taken::Event(Event::Next { body, .. }) => {
                    let text = std::str::from_utf8(&body).expect("text");
                    let number: usize = text.trim().parse().expect("a number");
                    match expected {
                        Some(expected) => assert_eq!(number, expected),
                        // The one that was about to be appended, or one of those that came since.
                        None => assert!((before..=from + 1).contains(&(number + 1))),
                    }
                    expected = Some(number + 1);
                }
                Taken::Missed(missed) => {
                    assert!(missed > 0);
                    break;
                }
                Taken::Closed => return,
                Taken::Event(_) | Taken::Status(..) => panic!("there are events only"),
            }
        }
    }
}

#[test]
fn an_event_above_a_bound_is_known_while_its_clients_may_take_it() {
    let (ring, _) = ring(1, HOUR);
    let mut one = ring.join(Shows::default()).0;
    ring.append(event(1));
    let now = Instant::now();
    assert_eq!(ring.oversized(SIZE - 1, now), Some(SIZE));
    assert_eq!(ring.oversized(SIZE, now), None);
    assert_eq!(ring.oversized(SIZE - 1, now + STALLED_AFTER), None);
    super::tests::now(&mut one);
    assert_eq!(ring.oversized(SIZE - 1, now), None);
}

#[tokio::test]
async fn while_an_address_has_much_its_feeds_wait_until_all_is_read() {
    let ([one, other], address) = rings_of_address(10);
    let (mut of_one, mut of_other) = (one.join(Shows::default()).0, other.join(Shows::default()).0);
    for number in 0..6 {
        one.push(event(number)).now_or_never().expect("room");
    }
    // The first one always passes.
    other.push(event(0)).now_or_never().expect("room");
    {
        let mut waits = std::pin::pin!(other.push(event(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(one.push(event(6)).now_or_never().is_none());
        assert_eq!(now(&mut of_other), Some(Ok(0)));
        waits.await;
    }
    assert_eq!(now(&mut of_other), Some(Ok(1)));
    // As soon as the address has room, there is no need to wait for everything.
    assert_eq!(now(&mut of_one), Some(Ok(0)));
    assert_eq!(now(&mut of_one), Some(Ok(1)));
    (2..4).for_each(|number| other.push(event(number)).now_or_never().expect("room"));
    drop((of_one, of_other, one, other));
    assert_eq!(address.load(Relaxed), 0);
}

#[tokio::test]
async fn a_feed_that_waits_goes_on_when_another_address_joins() {
    let ([one, other], address) = rings_of_address(10);
    let _clients = [one.join(Shows::default()).0, other.join(Shows::default()).0];
    for number in 0..6 {
        one.push(event(number)).now_or_never().expect("room");
    }
    other.append(event(0));
    let mut waits = std::pin::pin!(other.push(event(1)));
    assert!(waits.as_mut().now_or_never().is_none());
    other.leave_address();
    waits.now_or_never().expect("it counts for no address");
    assert_eq!(address.load(Relaxed), 6 * SIZE);
    other.leave_address();
    assert_eq!(address.load(Relaxed), 6 * SIZE);
}

#[test]
fn only_rings_of_the_address_whose_clients_do_not_read_give_way() {
    let ([stalled, quick], address) = rings_of_address(10);
    let (stranger, _) = ring(100, HOUR);
    let _clients = [
        stalled.join(Shows::default()).0,
        quick.join(Shows::default()).0,
        stranger.join(Shows::default()).0,
    ];
    (0..9).for_each(|number| stalled.append(event(number)));
    stranger.append(event(0));
    assert!(stalled.crowded_address().is_none());
    let stalled_since = Instant::now();
    while Instant::now() == stalled_since {}
    (0..2).for_each(|number| quick.append(event(number)));
    let crowded = quick.crowded_address().expect("eleven events");
    assert!(Arc::ptr_eq(&crowded, &address));
    let now = stalled_since + STALLED_AFTER;
    let bytes = [&stalled, &quick, &stranger].map(|ring| ring.stalled_bytes(&crowded, now));
    assert_eq!(bytes, [Some(9 * SIZE), None, None]);
}

#[test]
fn a_ring_can_be_made_smaller() {
    let (ring, all_bytes) = ring(100, HOUR);
    let mut one = ring.join(Shows::default()).0;
    (0..8).for_each(|number| ring.append(event(number)));
    ring.evict_half();
    assert_eq!(all_bytes.get(), 4 * SIZE as i64);
    assert_eq!(now(&mut one), Some(Err(4)));
}

#[tokio::test]
async fn a_reader_learns_which_cursor_its_events_follow() {
    let (ring, _) = ring(100, HOUR);
    let event = |cursor: Option<&str>| Event::Next {
        body: "{}".into(),
        cursor: cursor.map(Into::into),
    };
    let (mut one, cursor) = ring.join(Shows::default());
    assert_eq!(cursor, None);
    ring.append(event(Some("c1")));
    // An event without a cursor says nothing new.
    ring.append(event(None));
    let _taken = (one.next().await, one.next().await);
    let (_other, cursor) = ring.join(Shows::default());
    assert_eq!(cursor.as_deref(), Some("c1"));
}

#[test]
fn who_falls_out_of_a_group_with_an_event_leaves_none_uncounted() {
    let (ring, _) = ring(100, HOUR);
    let mut group = ring.join(Shows::default()).0;
    ring.append(event(1));
    // The client has the event: it goes on after it, as does the group.
    let mut fallen = ring.join_at(group.position(), 0, Shows::default());
    fallen.pass(0);
    group.pass(0);
    assert_eq!(ring.lock().fresh, Load::default());
    assert_eq!(ring.lock().waiting, Load::default());
    ring.append(event(2));
    assert_eq!(now(&mut fallen), Some(Ok(2)));
    assert_eq!(now(&mut group), Some(Ok(2)));
}

/// An event with a cursor.
fn placed(cursor: &str) -> Event {
    Event::Next {
        body: Bytes::from_static(b"{\"data\":1}"),
        cursor: Some(cursor.into()),
    }
}

fn next_of(reader: &mut RingReader) -> (Bytes, Option<String>) {
    match reader.next().now_or_never() {
        Some(Taken::Event(Event::Next { body, cursor })) => (body, cursor.map(|it| it.to_string())),
        _ => panic!("there is an event"),
    }
}

#[test]
fn readers_that_show_cursors_share_a_second_body() {
    let (ring, all_bytes) = ring(100, HOUR);
    let mut plain = ring.join(Shows::default()).0;
    ring.append(placed("c1"));
    let before = all_bytes.get();
    let mut readers = [ring.join(CURSORS).0, ring.join(CURSORS).0];
    ring.append(placed("c2"));
    let both = before + EVENT_BYTES as i64 + 10 + 2 + 39;
    assert_eq!(all_bytes.get(), both, "the second body counts, once");
    let [one, other] = readers.each_mut().map(next_of);
    assert_eq!(one.0, r#"{"data":1,"extensions":{"cursor":"c2"}}"#[..]);
    assert_eq!(one.0.as_ptr(), other.0.as_ptr());
    for cursor in ["c1", "c2"] {
        let seen = next_of(&mut plain);
        assert_eq!(
            seen,
            (Bytes::from_static(b"{\"data\":1}"), Some(cursor.into()))
        );
    }
    assert_eq!(all_bytes.get(), 0);
    // Where the schema has no cursors, the others see none.
    ring.hide_cursors(true);
    ring.append(placed("c3"));
    assert_eq!(next_of(&mut plain).1, None);
    assert_eq!(next_of(&mut readers[0]).1.as_deref(), Some("c3"));
    assert_eq!(ring.join(Shows::default()).1, None);
    assert_eq!(ring.join(CURSORS).1.as_deref(), Some("c3"));
}

#[test]
fn a_ring_stands_once_and_who_waits_learns_it_or_gets_an_event() {
    let stands = |cursor: &str| Stands {
        kept: graphql_transport::Guarantee::AtLeastOnce,
        cursor: Some(cursor.into()),
        status: Some(Status::Live),
    };
    let (ring, _) = ring(100, HOUR);
    let reader = ring.join(CURSORS).0;
    let mut place = reader.place();
    assert!(place.until_standing().now_or_never().is_none());
    // An event that says nothing about it: the end, perhaps.
    ring.append(event(1));
    assert_eq!(place.until_standing().now_or_never(), Some(AtPlace::Event));
    place.pass();
    assert!(place.until_standing().now_or_never().is_none());
    ring.stand(stands("c1"));
    ring.stand(stands("c9"));
    assert_eq!(
        place.until_standing().now_or_never(),
        Some(AtPlace::Stands(stands("c1")))
    );
    assert_eq!(ring.join(CURSORS).1.as_deref(), Some("c1"));
    // What is appended is later.
    ring.append(placed("c2"));
    assert_eq!(ring.join(CURSORS).1.as_deref(), Some("c2"));
}

#[test]
fn a_ring_that_ends_before_it_stands_keeps_nobody_waiting() {
    let (ring, _) = ring(100, HOUR);
    let reader = ring.join(CURSORS).0;
    ring.close();
    let at = reader.place().until_standing().now_or_never();
    assert_eq!(at, Some(AtPlace::Event));
}

/// The next step of a reader: a status, or the number of an event.
fn step(reader: &mut RingReader) -> Option<Result<Status, usize>> {
    if let Some(Taken::Status(status, _)) = reader.peek() {
        assert!(matches!(reader.try_next(), Some(Taken::Status(..))));
        return Some(Ok(status));
    }
    now(reader)?.ok().map(Err)
}

fn standing(ring: &EventRing, status: Status) {
    ring.stand(Stands {
        kept: graphql_transport::Guarantee::AtLeastOnce,
        cursor: None,
        status: Some(status),
    });
}

#[test]
fn a_status_keeps_its_place_among_the_events_and_only_the_latest_one_waits() {
    let (ring, all_bytes) = ring(2, HOUR);
    standing(&ring, Status::Live);
    let (mut slow, mut quick) = (ring.join(ALL).0, ring.join(ALL).0);
    let mut old = ring.join(CURSORS).0;
    ring.append(event(1));
    ring.tell(Status::Interrupted);
    ring.tell(Status::Interrupted);
    let bytes = all_bytes.get();
    assert_eq!(step(&mut quick), Some(Err(1)), "never ahead of an event");
    assert_eq!(step(&mut quick), Some(Ok(Status::Interrupted)));
    assert_eq!(step(&mut quick), None, "each once");
    // It takes no room: of a ring that is full, nothing is lost.
    ring.append(event(2));
    assert_eq!(all_bytes.get(), bytes + SIZE as i64);
    for _ in 0..1_000 {
        ring.tell(Status::Live);
        ring.tell(Status::Interrupted);
    }
    ring.tell(Status::Live);
    for reader in [&mut slow, &mut old] {
        assert_eq!(step(reader), Some(Err(1)));
        assert_eq!(step(reader), Some(Err(2)));
    }
    assert_eq!(step(&mut slow), Some(Ok(Status::Live)));
    assert_eq!(step(&mut slow), None);
    assert_eq!(step(&mut old), None, "it has not asked for a status");
    // Who comes now learns it from its first frame.
    ring.tell(Status::Interrupted);
    let mut late = ring.join(ALL).0;
    assert_eq!(step(&mut late), None);
    let AtPlace::Stands(stands) = late
        .place()
        .until_standing()
        .now_or_never()
        .expect("it stands")
    else {
        panic!("it stands");
    };
    assert_eq!(stands.status, Some(Status::Interrupted));
    // The place of a group that has fallen apart.
    ring.tell(Status::Live);
    let mut fallen = ring.join_at(late.position(), late.seen(), ALL);
    fallen.pass(fallen.position());
    assert_eq!(step(&mut fallen), Some(Ok(Status::Live)));
}

#[test]
fn before_it_stands_a_status_is_told_to_who_waits_for_that_and_the_first_frame_has_the_last_one() {
    let (ring, _) = ring(100, HOUR);
    let mut reader = ring.join(ALL).0;
    let mut place = reader.place();
    ring.tell(Status::Interrupted);
    let told = |place: &mut RingPlace| place.until_standing().now_or_never();
    assert_eq!(told(&mut place), Some(AtPlace::Status(Status::Interrupted)));
    assert_eq!(told(&mut place), None);
    let mut late = ring.join(ALL).0.place();
    assert_eq!(told(&mut late), Some(AtPlace::Status(Status::Interrupted)));
    let mut old = ring.join(CURSORS).0.place();
    assert_eq!(told(&mut old), None);
    ring.tell(Status::Live);
    let mut later = ring.join(ALL).0.place();
    assert_eq!(told(&mut later), None, "as everybody expects");
    ring.tell(Status::Interrupted);
    standing(&ring, Status::Live);
    for place in [&mut place, &mut late, &mut later, &mut old] {
        let Some(AtPlace::Stands(stands)) = told(place) else {
            panic!("it stands");
        };
        assert_eq!(stands.status, Some(Status::Live));
    }
    assert_eq!(step(&mut reader), None, "nothing again after the frame");
    assert!(reader.try_next().is_none());
    let last = ring.join(ALL).0;
    assert_eq!(reader.seen(), last.seen(), "they can share a group");
}
