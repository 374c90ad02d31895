//! Drawing a round's collaborators.
//!
//! Each candidate gets the digest of a secret round key and its name; the smallest digests are drawn. Without
//! the secret nobody can predict the draw; with the secret anybody can check it. The draw depends neither on
//! the order in which collaborators connected nor on anything that they send.

use std::collections::BTreeSet;

use crate::{Digest, Name, RoundNo};

/// The `k` of `candidates` that `round` asks; all of them when there are at most `k`.
pub(super) fn draw<'a>(
    secret: &[u8; 32],
    plan: &Digest,
    round: RoundNo,
    candidates: impl Iterator<Item = &'a Name>,
    k: usize,
) -> BTreeSet<Name> {
    let key = Digest::of(&[DOMAIN, secret.as_slice(), &plan.0, &round.0.to_le_bytes()].concat());
    let mut order: Vec<(Digest, &Name)> =
        candidates.map(|name| (Digest::of(&[&key.0, name.as_str().as_bytes()].concat()), name)).collect();
    order.sort_unstable();
    order.into_iter().take(k).map(|(_, name)| name.clone()).collect()
}

/// Keeps these digests apart from any other use of the secret.
const DOMAIN: &[u8] = b"fl-runtime/round/sample/1\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<Name> {
        (0..n).map(|i| format!("site-{i}").parse().unwrap()).collect()
    }

    #[test]
    fn the_same_inputs_draw_the_same_collaborators_in_whatever_order_they_come() {
        let plan = Digest::of(b"plan");
        let names = names(20);
        let first = draw(&[1; 32], &plan, RoundNo(3), names.iter(), 5);
        assert_eq!(first.len(), 5);
        assert_eq!(draw(&[1; 32], &plan, RoundNo(3), names.iter().rev(), 5), first);
        assert_ne!(draw(&[2; 32], &plan, RoundNo(3), names.iter(), 5), first, "another secret");
        assert_ne!(draw(&[1; 32], &Digest::of(b"other"), RoundNo(3), names.iter(), 5), first, "another plan");
        assert_ne!(draw(&[1; 32], &plan, RoundNo(4), names.iter(), 5), first, "another round");
        assert_eq!(
            draw(&[1; 32], &plan, RoundNo(3), names[..3].iter(), 5).len(),
            3,
            "no more than there are"
        );
    }

    #[test]
    fn nobody_is_drawn_more_often_than_others() {
        let names = names(10);
        let mut drawn = vec![0u32; names.len()];
        for round in 0..4000 {
            let picked = draw(&[7; 32], &Digest::of(b"plan"), RoundNo(round), names.iter(), 3);
            names.iter().zip(&mut drawn).filter(|(n, _)| picked.contains(n)).for_each(|(_, d)| *d += 1);
        }
        // Binomial, n = 4000, p = 0.3: mean 1200, standard deviation 29. Five of those.
        assert!(drawn.iter().all(|d| (1055..=1345).contains(d)), "{drawn:?}");
    }
}
