//! The area under the ROC curve.

/// Area under the ROC curve as the Mann-Whitney statistic: ranks, equal scores sharing their mean rank
/// (Hanley and McNeil, Radiology 143, 1982). `None` unless both classes are present.
pub(super) fn of(rows: &[(f32, bool)]) -> Option<f64> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = rows.iter().filter(|(_, truth)| *truth).count() as f64;
    let negatives = rows.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut before, mut ranks) = (0.0, 0.0);
    for equals in rows.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = before + (equals.len() as f64 + 1.0) / 2.0;
        ranks += mean_rank * equals.iter().filter(|(_, truth)| *truth).count() as f64;
        before += equals.len() as f64;
    }
    Some((ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}
