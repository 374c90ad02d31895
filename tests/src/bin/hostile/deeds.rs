//! The misdeeds themselves, a function a group.

use std::time::Duration;

use fl_engine::{
    ByteCount, Digest, RoundNo, Weight, limits,
    plan::Metric,
    round::{Offer, Report, Stamp},
    wire::{self, AskSums, Failed, Message, PayloadHeader, SiteSums, Verdict},
};
use serde_json::json;

use super::{
    Failure,
    link::{framed, tell_end, write, write_update},
    misdeed::{
        Broken, Counted, Flood, Misdeed, Silence, SlowPayload, WrongHello, WrongOffer, WrongPayload,
        WrongSums,
    },
    say,
    workspace::{WINDOW, Workspace},
};

/// Commits one misdeed to its end.
pub(super) async fn commit(workspace: &Workspace, misdeed: Misdeed) -> Result<(), Failure> {
    let deed = Deed { workspace, misdeed };
    match misdeed {
        Misdeed::WrongHello(hello) => deed.wrong_hello(hello).await,
        Misdeed::Silence(silence) => deed.silence(silence).await,
        Misdeed::WrongSums(sums) => deed.wrong_sums(sums).await,
        Misdeed::WrongOffer(offer) => deed.wrong_offer(offer).await,
        Misdeed::WrongPayload(payload) => deed.wrong_payload(payload).await,
        Misdeed::SlowPayload(payload) => deed.slow_payload(payload).await,
        Misdeed::Counted(counted) => deed.counted(counted).await,
        Misdeed::Flood(flood) => deed.flood(flood).await,
        Misdeed::Broken(broken) => deed.broken(broken).await,
    }
}

/// A misdeed, and what it is committed with.
struct Deed<'a> {
    workspace: &'a Workspace,
    misdeed: Misdeed,
}

impl Deed<'_> {
    /// Introduces itself with a wrong hello, and expects to be rejected.
    async fn wrong_hello(&self, wrong: WrongHello) -> Result<(), Failure> {
        let mut hello = self.workspace.hello();
        match wrong {
            WrongHello::Plan => hello.plan = Digest([7; 32]),
            WrongHello::Federation => hello.federation = "elsewhere".parse()?,
            WrongHello::Version => hello.versions = (77, 78),
            WrongHello::LaterRoster => hello.roster_serial = u64::MAX,
            WrongHello::MostEvidence => hello.evidence = vec![9; 32 << 10],
            WrongHello::NoFeatures => hello.features = 0,
            WrongHello::LongEvidence => hello.evidence = vec![9; (32 << 10) + 1],
        }
        let mut link = self.workspace.knock(self.misdeed, WINDOW).await?;
        link.say(&Message::Hello(hello)).await?;
        link.hear(|message| matches!(message, Message::Rejected(_))).await?;
        Ok(())
    }

    /// Says nothing, or reads nothing.
    async fn silence(&self, silence: Silence) -> Result<(), Failure> {
        match silence {
            Silence::Silent => self.workspace.knock(self.misdeed, WINDOW).await?.closed().await,
            Silence::Streamless => {
                let end = self.workspace.dial_only(WINDOW).await?;
                tell_end(self.misdeed, &end);
                Ok(())
            }
            Silence::Idle => self.workspace.enter(self.misdeed, WINDOW).await?.closed().await,
            Silence::Sluggish => self.sluggish().await,
            Silence::Deaf => self.deaf().await,
        }
    }

    /// Answers each round with a failure, after most of a second.
    async fn sluggish(&self) -> Result<(), Failure> {
        let mut link = self.workspace.enter(self.misdeed, WINDOW).await?;
        while let Ok(stamp) = link.work().await {
            tokio::time::sleep(Duration::from_millis(900)).await;
            let failed = Failed { stamp, task: "send".parse()?, why: "slow".to_owned() };
            if link.say(&Message::Failed(failed)).await.is_err() {
                break;
            }
        }
        link.closed().await
    }

    /// Never reads an answer, and asks for more of them.
    async fn deaf(&self) -> Result<(), Failure> {
        let mut link = self.workspace.enter(self.misdeed, 4096).await?;
        let stamp = link.work().await?;
        link.reader.abort();
        let stale = Stamp { incarnation: stamp.incarnation ^ 1, ..stamp };
        let offer = Message::Offer(self.workspace.offer(stale, &[])?);
        while link.say(&offer).await.is_ok() {}
        link.closed().await
    }

    /// Answers with sums that are refused.
    async fn wrong_sums(&self, wrong: WrongSums) -> Result<(), Failure> {
        let mut link = self.workspace.enter(self.misdeed, WINDOW).await?;
        let Message::AskSums(AskSums { incarnation }) =
            link.hear(|message| matches!(message, Message::AskSums(_))).await?
        else {
            return Err("no sums were asked for".into());
        };
        // Count, sum and sum of squares, as postcard writes them; the other columns are empty.
        let (columns, first): (u8, &[u8]) = match wrong {
            WrongSums::TooWide => (31, &[0, 0, 0]),
            WrongSums::OfNone => (30, &[0, 1, 2, 0]),
            WrongSums::TooMany => (30, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 2, 1, 2]),
            // The square of the sum is larger than any sum of squares.
            WrongSums::Impossible => (30, &[20, 1, 18, 1, 2]),
            // A digit more than the sums of any data have.
            WrongSums::TooLong => (30, &[20, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        };
        let mut envelope =
            wire::encode(&Message::Sums(SiteSums { incarnation, first: 0, columns: Vec::new() }));
        envelope.pop();
        envelope.push(columns);
        envelope.extend(first);
        envelope.extend(vec![0; 3 * usize::from(columns - 1)]);
        link.raw(&envelope).await?;
        if wrong == WrongSums::TooLong {
            return link.closed().await;
        }
        link.leave().await
    }

    /// Makes an offer that is refused before a byte of the update is sent.
    async fn wrong_offer(&self, wrong: WrongOffer) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        let mut body = self.workspace.body();
        if wrong == WrongOffer::WrongLayout {
            body.extend([0; 4]);
        }
        let mut offer = self.workspace.offer(stamp, &body)?;
        match wrong {
            WrongOffer::LyingLength => offer.bytes = ByteCount(u64::MAX),
            WrongOffer::WrongLayout => {}
            WrongOffer::Heavy => offer.weight = Weight::new(1 << 20)?,
            WrongOffer::StaleRound => offer.stamp.round = RoundNo(stamp.round.0.wrapping_sub(1)),
            WrongOffer::StaleIncarnation => offer.stamp.incarnation ^= 1,
            WrongOffer::WrongBase => offer.stamp.base = Digest([7; 32]),
            WrongOffer::UnknownTask => offer.task = "steal".parse()?,
        }
        link.say(&Message::Offer(offer)).await?;
        link.refused().await?;
        link.leave().await
    }

    /// Sends an update that is refused for its bytes.
    async fn wrong_payload(&self, wrong: WrongPayload) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        let whole = self.workspace.body();
        // What is offered, and what is sent.
        let half = || whole[..whole.len() / 2].to_vec();
        let poisoned = |value| {
            let body = self.workspace.poisoned(value);
            (body.clone(), body)
        };
        let (offered, sent) = match wrong {
            WrongPayload::Truncated | WrongPayload::Dropped => (whole.clone(), half()),
            WrongPayload::Oversized => (whole.clone(), [whole.clone(), vec![0; 4]].concat()),
            WrongPayload::Nan => poisoned(f32::NAN),
            WrongPayload::Infinity => poisoned(f32::INFINITY),
            WrongPayload::MinusInfinity => poisoned(f32::NEG_INFINITY),
            WrongPayload::OutOfRange => poisoned(f32::MAX),
            WrongPayload::WrongRoot | WrongPayload::OtherHeader => (whole.clone(), whole.clone()),
        };
        let mut offer = self.workspace.offer(stamp, &offered)?;
        if wrong == WrongPayload::WrongRoot {
            offer.root = Digest([7; 32]);
        }
        link.granted(&offer).await?;
        if wrong == WrongPayload::OtherHeader {
            offer.weight = Weight::new(8)?;
        }
        let mut stream = link.handle.open_uni().await?;
        // The receiver may refuse the stream before it ends.
        let _ = write_update(&mut stream, &offer, &sent).await;
        if wrong == WrongPayload::Dropped {
            // What was written has to arrive first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            let _ = stream.finish();
        }
        // Unfinished, it is taken back.
        drop(stream);
        link.refused().await?;
        link.leave().await
    }

    /// Stops half-way and waits to be killed, or sends drop by drop until the aggregator cancels.
    async fn slow_payload(&self, slow: SlowPayload) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        let body = self.workspace.body();
        let offer = self.workspace.offer(stamp, &body)?;
        link.granted(&offer).await?;
        let mut stream = link.handle.open_uni().await?;
        match slow {
            SlowPayload::Vanishing => {
                write_update(&mut stream, &offer, &body[..body.len() / 2]).await?;
                say(self.misdeed, json!({"event": "halfway"}));
                link.closed().await
            }
            SlowPayload::Drip => {
                write_update(&mut stream, &offer, &[]).await?;
                for piece in body.chunks(256) {
                    if write(&mut stream, piece).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                link.hear(|message| matches!(message, Message::Cancel(_))).await?;
                link.leave().await
            }
        }
    }

    /// Sends an update that counts, and something odd before or after it.
    async fn counted(&self, odd: Counted) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        if odd == Counted::UnknownOdd {
            link.raw(&[&901u16.to_le_bytes(), b"from later".as_slice()].concat()).await?;
        }
        let body = self.workspace.body();
        let offer = self.workspace.offer(stamp, &body)?;
        link.granted(&offer).await?;
        let mut stream = link.handle.open_uni().await?;
        write_update(&mut stream, &offer, &body).await?;
        stream.finish()?;
        link.hear(|message| matches!(message, Message::Received(_))).await?;
        match odd {
            Counted::UnknownOdd => {}
            Counted::Duplicate => {
                link.say(&Message::Offer(offer)).await?;
                link.refused().await?;
            }
            Counted::OddMetrics => {
                let metrics = vec![(Metric::Loss, f64::NAN), (Metric::Accuracy, f64::INFINITY)];
                link.say(&report(stamp, u64::MAX, metrics)?).await?;
            }
        }
        link.leave().await
    }

    /// Sends thousands of messages, or opens thousands of streams.
    async fn flood(&self, flood: Flood) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        let stale = Stamp { incarnation: stamp.incarnation ^ 1, ..stamp };
        let offer = self.workspace.offer(stale, &self.workspace.body())?;
        for _ in 0..FLOOD {
            let sent = match flood {
                Flood::Offers => link.say(&Message::Offer(offer.clone())).await,
                Flood::Reports => {
                    link.say(&report(stamp, 1, vec![(Metric::Loss, 1.0); limits::METRICS])?).await
                }
                Flood::Failures => {
                    // A terminal would begin a line, clear itself, turn its direction and hide text.
                    let why = "\r\n2026 error all is lost \u{1b}[2J\u{9b}2J\u{202e}\u{7f}\u{2028}".repeat(12);
                    let failed = Failed { stamp: stale, task: "send".parse()?, why };
                    link.say(&Message::Failed(failed)).await
                }
                Flood::Ungranted => link.stream(&offer, true).await,
                Flood::AbandonedStreams => link.stream(&offer, false).await,
            };
            // The aggregator may cut the link off for the flood.
            if sent.is_err() {
                return link.closed().await;
            }
        }
        link.leave().await
    }

    /// Sends bytes that end the link.
    async fn broken(&self, broken: Broken) -> Result<(), Failure> {
        let (mut link, stamp) = self.workspace.working(self.misdeed).await?;
        let offer = self.workspace.offer(stamp, &self.workspace.body())?;
        let envelope = wire::encode(&Message::Offer(offer.clone()));
        // Streams stay open until the link ends.
        let mut streams = Vec::new();
        match broken {
            Broken::ZeroWeight => link.raw(&with_weight(&offer, &[0])?).await?,
            Broken::HugeWeight => link.raw(&with_weight(&offer, &[0xff, 0xff, 0xff, 0xff, 0x0f])?).await?,
            Broken::Undecodable => link.raw(&envelope[..envelope.len() - 3]).await?,
            Broken::Trailing => link.raw(&[envelope.as_slice(), b"more"].concat()).await?,
            Broken::EmptyEnvelope => link.raw(&[]).await?,
            Broken::UnknownEven => {
                link.raw(&[&900u16.to_le_bytes(), b"from later".as_slice()].concat()).await?;
            }
            Broken::BigEnvelope => write(&mut link.send, &u32::MAX.to_le_bytes()).await?,
            Broken::SecondHello => link.say(&Message::Hello(self.workspace.hello())).await?,
            Broken::AggregatorsWords => link.say(&Message::Finished(Verdict::Stopped)).await?,
            Broken::ModelHeader => {
                streams.push(link.open_with(&framed(&PayloadHeader::Model(stamp).encode())).await?);
            }
            Broken::BadHeader => streams.push(link.open_with(&framed(&[9; 100])).await?),
            Broken::BigHeader => streams.push(link.open_with(&framed(&[0; 1025])).await?),
            Broken::HalfOpen => {
                // As many as may be open at once, each with a part of a header's length.
                for _ in 0..4 {
                    streams.push(link.open_with(&[40]).await?);
                }
                for stream in &mut streams {
                    // It is refused.
                    let _ = stream.delivered().await;
                }
                return link.leave().await;
            }
        }
        link.closed().await
    }
}

fn report(stamp: Stamp, samples: u64, metrics: Vec<(Metric, f64)>) -> Result<Message, Failure> {
    Ok(Message::Report(Report { stamp, task: "send".parse()?, samples, metrics }))
}

/// The offer's envelope with these bytes as its weight, which no [`Weight`] can be.
fn with_weight(offer: &Offer, weight: &[u8]) -> Result<Vec<u8>, Failure> {
    let of = |weight| wire::encode(&Message::Offer(Offer { weight, ..offer.clone() }));
    let (one, two) = (of(Weight::new(1)?), of(Weight::new(2)?));
    let at = one.iter().zip(&two).position(|(a, b)| a != b).ok_or("a weight has no place")?;
    Ok([&one[..at], weight, &one[at + 1..]].concat())
}

/// Messages or streams of a flood.
const FLOOD: usize = 3000;
