use super::*;
use crate::net::Link;

#[tokio::test]
async fn dropped_stream_is_not_a_finished_one() {
    let (a, b) = Link::pair(Vec::new(), Vec::new());
    let mut cut = a.handle().open_uni().await.unwrap();
    cut.write_chunks(&mut [Bytes::from_static(b"half")]).await.unwrap();
    drop(cut);
    let mut stream = b.handle().accept_uni().await.unwrap();
    assert_eq!(stream.read(64).await.unwrap().unwrap(), &b"half"[..]);
    assert_eq!(stream.read(64).await, Err(LinkError::Abandoned));
}

#[tokio::test]
async fn close_reaches_the_peer_with_its_reason() {
    let (a, mut b) = Link::pair(Vec::new(), Vec::new());
    a.handle().close(7, "plan differs");
    let why = LinkError::Closed { code: 7, reason: "plan differs".into() };
    assert_eq!(b.recv_envelope().await, Err(why.clone()));
    assert_eq!(b.handle().closed().await, why);
    assert_eq!(a.handle().closed().await, LinkError::ClosedHere);
}

#[tokio::test]
async fn dropping_one_side_closes_the_other() {
    let (a, b) = Link::pair(Vec::new(), Vec::new());
    drop(a);
    assert!(matches!(b.handle().accept_uni().await, Err(LinkError::Closed { code: 0, .. })));
}

#[tokio::test]
async fn delivery_waits_for_the_reader() {
    let (a, b) = Link::pair(Vec::new(), Vec::new());
    let mut out = a.handle().open_uni().await.unwrap();
    out.write_chunks(&mut [Bytes::from_static(b"x")]).await.unwrap();
    out.finish().unwrap();
    let wait = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(wait, out.delivered()).await.is_err());
    let mut stream = b.handle().accept_uni().await.unwrap();
    while stream.read(64).await.unwrap().is_some() {}
    out.delivered().await.unwrap();
}
