use std::{cell::Cell, rc::Rc, time::Duration};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{
    frames::{Frames, going_away, tests::frame},
    *,
};

const FAREWELL: Duration = Duration::from_secs(4);

/// A conversation with both ends in hand.
struct World {
    client: DuplexStream,
    endpoint: DuplexStream,
    end: Rc<End>,
    outcome: tokio::task::JoinHandle<io::Result<()>>,
    carried: Rc<Cell<(u64, u64)>>,
}

impl World {
    fn begin(buffer: usize) -> Self {
        let (client, of_client) = duplex(buffer);
        let (endpoint, of_endpoint) = duplex(buffer);
        let (end, carried) = (Rc::new(End::default()), Rc::new(Cell::default()));
        let mut conversation = Conversation::new(of_client, of_endpoint, 0);
        let outcome = spawn_local({
            let (end, carried) = (Rc::clone(&end), Rc::clone(&carried));
            async move {
                let outcome = conversation.carry(&end).await;
                carried.set(conversation.carried());
                outcome
            }
        });
        Self { client, endpoint, end, outcome, carried }
    }
}

/// Runs on a clock that goes on by itself when all is silent.
fn run(what: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), what);
}

async fn heard(stream: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn bytes_go_both_ways_whatever_they_are() {
    run(async {
        let mut world = World::begin(64);
        for text in ["hello", "GET / HTTP/1.1\r\n"] {
            world.client.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(heard(&mut world.endpoint, text.len()).await, text.as_bytes());
            world.endpoint.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(heard(&mut world.client, text.len()).await, text.as_bytes());
        }
        // One side has ended, and the other one goes on.
        world.client.shutdown().await.unwrap();
        assert_eq!(world.endpoint.read(&mut [0]).await.unwrap(), 0);
        world.endpoint.write_all(b"more").await.unwrap();
        assert_eq!(heard(&mut world.client, 4).await, b"more");
        drop(world.endpoint);
        world.outcome.await.unwrap().unwrap();
        assert_eq!(world.carried.get(), (21, 25));
    });
}

#[test]
fn the_client_is_told_and_its_answer_tells_the_endpoint() {
    run(async {
        let mut world = World::begin(64);
        world.end.tell(FAREWELL);
        assert_eq!(heard(&mut world.client, 4).await, going_away(Sender::Endpoint, 0));
        // Said before it was heard.
        let said = [frame(Sender::Client, 1, 5), going_away(Sender::Client, 0)].concat();
        world.client.write_all(&said).await.unwrap();
        assert_eq!(heard(&mut world.endpoint, said.len()).await, said);
        world.endpoint.write_all(&going_away(Sender::Endpoint, 0)).await.unwrap();
        drop(world.endpoint);
        assert_eq!(world.client.read(&mut [0]).await.unwrap(), 0, "once is enough");
        drop(world.client);
        world.outcome.await.unwrap().unwrap();
    });
}

#[test]
fn a_frame_that_is_under_way_comes_to_its_end() {
    run(async {
        let mut world = World::begin(1_000);
        let whole = frame(Sender::Endpoint, 2, 10);
        world.endpoint.write_all(&whole[..5]).await.unwrap();
        assert_eq!(heard(&mut world.client, 5).await, whole[..5]);
        world.end.tell(FAREWELL);
        // Until the other task has nothing to do any more.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let rest = [&whole[5..], &frame(Sender::Endpoint, 2, 7)].concat();
        world.endpoint.write_all(&rest).await.unwrap();
        let wanted = [&whole[5..], &going_away(Sender::Endpoint, 0)].concat();
        assert_eq!(heard(&mut world.client, wanted.len()).await, wanted);
        world.client.write_all(&going_away(Sender::Client, 0)).await.unwrap();
        drop((world.client, world.endpoint));
        world.outcome.await.unwrap().unwrap();
    });
}

#[test]
fn a_client_that_does_not_answer_is_answered_for() {
    run(async {
        let began = tokio::time::Instant::now();
        let mut world = World::begin(64);
        world.end.tell(FAREWELL);
        assert_eq!(heard(&mut world.endpoint, 8).await, going_away(Sender::Client, 0));
        assert_eq!(began.elapsed(), FAREWELL / 2);
        let outcome = world.outcome.await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), FAREWELL);
        assert_eq!(world.endpoint.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_client_that_hangs_up_is_answered_for() {
    run(async {
        let mut world = World::begin(64);
        world.end.tell(FAREWELL);
        assert_eq!(heard(&mut world.client, 4).await, going_away(Sender::Endpoint, 0));
        drop(world.client);
        assert_eq!(heard(&mut world.endpoint, 8).await, going_away(Sender::Client, 0));
        assert_eq!(world.endpoint.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn what_stops_in_the_middle_is_cut_off() {
    run(async {
        let mut world = World::begin(64);
        world.endpoint.write_all(&[0x82, 9, 1]).await.unwrap();
        world.client.write_all(&[0x82, 0x89, 1]).await.unwrap();
        assert_eq!(heard(&mut world.client, 3).await, [0x82, 9, 1]);
        assert_eq!(heard(&mut world.endpoint, 3).await, [0x82, 0x89, 1]);
        world.end.tell(FAREWELL);
        assert!(world.outcome.await.unwrap().is_err());
        for side in [&mut world.client, &mut world.endpoint] {
            assert_eq!(side.read(&mut [0]).await.unwrap(), 0, "without another byte");
        }
    });
}

#[test]
fn a_side_that_has_said_it_is_not_answered_for_again() {
    run(async {
        let mut world = World::begin(64);
        let close = going_away(Sender::Endpoint, 0);
        world.endpoint.write_all(&close).await.unwrap();
        assert_eq!(heard(&mut world.client, 4).await, close);
        world.end.tell(FAREWELL);
        world.client.write_all(&going_away(Sender::Client, 0)).await.unwrap();
        assert_eq!(heard(&mut world.endpoint, 8).await, going_away(Sender::Client, 0));
        drop(world.endpoint);
        assert_eq!(world.client.read(&mut [0]).await.unwrap(), 0);
        drop(world.client);
        world.outcome.await.unwrap().unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_client_gets_whole_frames_and_then_the_end(
        contents in prop::collection::vec(0_usize..400, 0..12),
        buffer in 1_usize..300,
        piece in 1_usize..300,
        told_at in 0_usize..3_000,
    ) {
        run(async {
            let world = World::begin(buffer);
            let World { mut client, mut endpoint, end, outcome, .. } = world;
            let frames: Vec<Vec<u8>> =
                contents.iter().map(|content| frame(Sender::Endpoint, 2, *content)).collect();
            let sent = frames.concat();
            let sending = async {
                let mut at = 0;
                for part in sent.chunks(piece) {
                    if at <= told_at && told_at < at + part.len() {
                        end.tell(FAREWELL);
                    }
                    at += part.len();
                    endpoint.write_all(part).await.unwrap();
                }
                end.tell(FAREWELL);
                // Until the client has answered.
                let mut answer = Vec::new();
                endpoint.read_to_end(&mut answer).await.unwrap();
                drop(endpoint);
                answer
            };
            let hearing = async {
                let (mut got, mut frames) = (Vec::new(), Frames::of(Sender::Endpoint));
                let mut bytes = [0; 64];
                while !(frames.has_closed() && frames.is_between()) {
                    let length = client.read(&mut bytes).await.unwrap();
                    assert!(length > 0, "it ended without a word");
                    frames.feed(&bytes[..length]);
                    got.extend(&bytes[..length]);
                }
                client.write_all(&going_away(Sender::Client, 0)).await.unwrap();
                client.shutdown().await.unwrap();
                client.read_to_end(&mut got).await.unwrap();
                got
            };
            let (answer, got) = tokio::join!(sending, hearing);
            assert_eq!(answer, going_away(Sender::Client, 0));
            let whole = got.strip_suffix(&going_away(Sender::Endpoint, 0)[..]).unwrap();
            assert!(sent.starts_with(whole));
            let mut ends = std::iter::once(0).chain(frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            }));
            assert!(ends.any(|end| end == whole.len()), "a frame was cut off");
            outcome.await.unwrap().unwrap();
        });
    }
}
