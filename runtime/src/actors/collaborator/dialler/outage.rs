//! What a collaborator logs while it has no link: a line at the first failed attempt, a warning after half a
//! minute, and then a line each minute.

use std::time::{Duration, Instant};

use fl_engine::plan::host_and_port;

use super::verdict::{Cause, NoLink};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Whether the operator may have to act.
    pub(super) warns: bool,
    pub(super) text: String,
}

/// A time without a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    began: Instant,
    /// Whether there was a link before.
    was_connected: bool,
    last_line: Option<Instant>,
    has_warned: bool,
}

impl Outage {
    pub(super) fn new(now: Instant, was_connected: bool) -> Self {
        Self { began: now, was_connected, last_line: None, has_warned: false }
    }

    /// The line about a failed attempt to reach `at`, if one is due. `wait` is the time to the next attempt.
    pub(super) fn line(
        &mut self,
        no_link: &NoLink,
        at: At<'_>,
        now: Instant,
        wait: Duration,
    ) -> Option<Line> {
        let lasts = now.saturating_duration_since(self.began);
        let warns = lasts >= WARN_AFTER;
        let is_due = self.last_line.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_LINES);
        if !is_due && (self.has_warned || !warns) {
            return None;
        }
        self.last_line = Some(now);
        self.has_warned |= warns;
        let text = if warns { self.warning(no_link, at, lasts) } else { self.first(no_link, at, wait) };
        Some(Line { warns, text })
    }

    fn first(&self, no_link: &NoLink, At { host, port, .. }: At<'_>, wait: Duration) -> String {
        let (to, why, wait) = (host_and_port(host, port), &no_link.why, wait.as_secs_f64());
        match self.was_connected {
            false => format!("no aggregator at {to} yet ({why}); next attempt in {wait:.1} s"),
            true => {
                format!("the aggregator at {to} is lost ({why}); next attempt in {wait:.1} s")
            }
        }
    }

    fn warning(
        &self,
        NoLink { cause, why }: &NoLink,
        At { host, port, protocols, proxy }: At<'_>,
        lasts: Duration,
    ) -> String {
        let (to, seconds) = (host_and_port(host, port), lasts.as_secs());
        let since = if self.was_connected { ", since the link broke" } else { "" };
        let from = proxy.map(|proxy| format!("from the proxy {proxy} ")).unwrap_or_default();
        match (cause, self.was_connected) {
            (Cause::Silent, false) => format!(
                "nothing has answered for {seconds} s: is {protocols} {port} open {from}towards {host}, and does the aggregator run there? \
                 The address comes from plan/site.yaml. The collaborator tries again"
            ),
            (Cause::Silent, true) => format!(
                "nothing has answered for {seconds} s{since}: does the aggregator at {host} still run, and is {protocols} {port} still \
                 open {from}towards {host}? The collaborator tries again"
            ),
            (Cause::Proxy(advice), _) => format!(
                "there is no way through the proxy to {to} for {seconds} s{since}: {why}. {advice}. The collaborator tries \
                 again"
            ),
            (Cause::Unproven, _) => format!(
                "the program at {to} has not proved for {seconds} s{since} that it is this federation's aggregator \
                 ({why}). Check the address in plan/site.yaml, and ask the aggregator's operator. {}The collaborator tries again",
                if proxy.is_some() { "The proxy must pass TLS on and not open it. " } else { "" }
            ),
            (Cause::Evidence(advice), _) => {
                format!(
                    "no link to {to} for {seconds} s{since}: {why}. To mend this, {advice}. The collaborator tries again"
                )
            }
            (Cause::Busy | Cause::Refusing, _) => format!(
                "the aggregator at {to} has not admitted this collaborator for {seconds} s{since}: {why}. The \
                 collaborator tries again"
            ),
            (Cause::Other, _) => format!(
                "no link to the aggregator at {to} for {seconds} s{since}: {why}. The collaborator tries again"
            ),
        }
    }
}

/// Where the aggregator is, as the site file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// What a firewall has to let through: for example UDP.
    pub(super) protocols: &'static str,
    /// Host and port of the proxy, where there is one.
    pub(super) proxy: Option<&'a str>,
}

/// Time without a link after which the lines warn.
const WARN_AFTER: Duration = Duration::from_secs(30);
/// Least time between two lines, except before the first warning.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'_> = At { host: "agg.example", port: 7464, protocols: "UDP or TCP", proxy: None };

    /// The seconds and first words of every line of two minutes and a half, with an attempt each second.
    fn lines(cause: Cause, was_connected: bool) -> Vec<(u64, bool, String)> {
        let start = Instant::now();
        let mut outage = Outage::new(start, was_connected);
        let no_link = NoLink { cause, why: "the reason".to_owned() };
        let line = |second: u64| {
            let now = start + Duration::from_secs(second);
            let line = outage.line(&no_link, AT, now, Duration::from_millis(500))?;
            Some((second, line.warns, line.text))
        };
        (0..=150).filter_map(line).collect()
    }

    #[test]
    fn first_failure_is_told_then_half_a_minute_warns_and_then_each_minute() {
        for (cause, words) in [
            (Cause::Silent, "is UDP or TCP 7464 open towards agg.example"),
            (Cause::Unproven, "has not proved for"),
            (Cause::Refusing, "has not admitted this collaborator for"),
            (Cause::Proxy("Do this"), "no way through the proxy to agg.example:7464 for"),
            (Cause::Proxy("Do this"), "the reason. Do this. The collaborator tries again"),
            (Cause::Other, "the reason"),
        ] {
            let lines = lines(cause, false);
            let when: Vec<(u64, bool)> = lines.iter().map(|(second, warns, _)| (*second, *warns)).collect();
            assert_eq!(when, [(0, false), (30, true), (90, true), (150, true)]);
            assert_eq!(
                lines[0].2,
                "no aggregator at agg.example:7464 yet (the reason); next attempt in 0.5 s"
            );
            assert!(lines[1..].iter().all(|(_, _, text)| text.contains(words)), "{lines:?}");
            assert!(
                lines[1..].iter().all(|(_, _, text)| !text.contains("since the link broke")),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn lost_aggregator_is_told_apart_from_one_that_was_never_reached() {
        let lines = lines(Cause::Silent, true);
        assert!(lines[0].2.starts_with("the aggregator at agg.example:7464 is lost"), "{lines:?}");
        let words = "nothing has answered for 30 s, since the link broke: does the aggregator at agg.example still run";
        assert!(lines[1].2.starts_with(words), "{lines:?}");
    }

    #[test]
    fn warning_names_the_proxy_where_the_connection_has_to_pass_one() {
        let at = At { protocols: "TCP", proxy: Some("p:3128"), ..AT };
        let outage = Outage::new(Instant::now(), false);
        let warning = |cause| {
            outage.warning(&NoLink { cause, why: "the reason".to_owned() }, at, Duration::from_secs(30))
        };
        let silent = warning(Cause::Silent);
        assert!(silent.contains("is TCP 7464 open from the proxy p:3128 towards agg.example"), "{silent}");
        let unproven = warning(Cause::Unproven);
        assert!(unproven.contains("The proxy must pass TLS on and not open it"), "{unproven}");
    }
}
