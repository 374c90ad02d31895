//! Random primes for RSA keys whose public exponent is 3.
//!
//! Hand-written: num-bigint has no test for primes, and the crate `crypto-primes` works on big integers of
//! its own.

use num_bigint::BigUint;
use ring::rand::{SecureRandom, SystemRandom};

use crate::exit::{Exit, Failure};

/// A prime of `bits` bits, the two highest set, which is 2 modulo 3: 3 does not divide it less 1.
///
/// # Errors
/// [`Exit::Failed`] when the system gives no random numbers.
pub(super) fn random(bits: u32) -> Result<BigUint, Failure> {
    let system = SystemRandom::new();
    let small = small_primes();
    loop {
        let mut bytes = vec![0; bits.div_ceil(8) as usize];
        fill(&system, &mut bytes)?;
        let mut candidate = BigUint::from_bytes_be(&bytes);
        for bit in u64::from(bits)..bytes.len() as u64 * 8 {
            candidate.set_bit(bit, false);
        }
        // FIPS 186-5, A.1.3: the product of two such primes has its full length.
        candidate.set_bit(u64::from(bits) - 1, true);
        candidate.set_bit(u64::from(bits) - 2, true);
        candidate.set_bit(0, true);
        if &candidate % 3_u8 == BigUint::from(2_u8) && is_prime_with(&candidate, ROUNDS, &small, &system)? {
            return Ok(candidate);
        }
    }
}

/// Whether a number is prime: a composite passes with a chance below `4^-rounds`.
///
/// # Errors
/// [`Exit::Failed`] when the system gives no random numbers.
pub(super) fn is_prime(number: &BigUint, rounds: usize) -> Result<bool, Failure> {
    is_prime_with(number, rounds, &small_primes(), &SystemRandom::new())
}

fn is_prime_with(
    number: &BigUint,
    rounds: usize,
    small: &[u32],
    system: &SystemRandom,
) -> Result<bool, Failure> {
    let (zero, one, two) = (BigUint::ZERO, BigUint::from(1_u8), BigUint::from(2_u8));
    if *number < two {
        return Ok(false);
    }
    for prime in small {
        if number % *prime == zero {
            return Ok(*number == BigUint::from(*prime));
        }
    }
    // FIPS 186-5, B.3.1: number - 1 is odd × 2^shift; a witness is drawn from 2 to number - 2.
    let less_one = number - &one;
    let shift = less_one.trailing_zeros().unwrap_or(0);
    let odd = &less_one >> shift;
    let mut bytes = vec![0; number.bits().div_ceil(8) as usize];
    let mut passed = 0;
    while passed < rounds {
        fill(system, &mut bytes)?;
        let witness = BigUint::from_bytes_be(&bytes) % number;
        if witness < two || witness == less_one {
            continue;
        }
        passed += 1;
        let mut power = witness.modpow(&odd, number);
        if power == one || power == less_one {
            continue;
        }
        let squares = (1..shift).any(|_| {
            power = power.modpow(&two, number);
            power == less_one
        });
        if !squares {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fill(system: &SystemRandom, bytes: &mut [u8]) -> Result<(), Failure> {
    system.fill(bytes).map_err(|_| Failure::new(Exit::Failed, "the system gives no random bytes"))
}

fn small_primes() -> Vec<u32> {
    let mut composite = vec![false; SMALL as usize];
    let mut primes = Vec::new();
    for number in 2..SMALL {
        if !composite[number as usize] {
            primes.push(number);
            (number * number..SMALL).step_by(number as usize).for_each(|at| composite[at as usize] = true);
        }
    }
    primes
}

/// Rounds of Miller and Rabin's test for a new prime: a composite passes all of them with a chance below
/// 4^-64.
const ROUNDS: usize = 64;
/// Small primes that are divided by before the costly test.
const SMALL: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_primes_and_composites_are_told_apart() {
        let number = |text: &str| text.parse::<BigUint>().unwrap();
        let two = BigUint::from(2_u8);
        let mersenne = |n: u32| two.pow(n) - 1_u8;
        for prime in [number("2"), number("3"), number("9973"), number("10007"), mersenne(89), mersenne(521)]
        {
            assert!(is_prime(&prime, ROUNDS).unwrap(), "{prime}");
        }
        // 561 to 1729 are Carmichael's; the next passes the test for every base to 37 (Sorenson and Webster,
        // arXiv:1509.00864); the last but one is a square, the last a product of two large primes.
        let composites = [
            number("0"),
            number("1"),
            number("561"),
            number("1729"),
            number("318665857834031151167461"),
            number("10007") * number("10007"),
            mersenne(89) * mersenne(107),
        ];
        for composite in composites {
            assert!(!is_prime(&composite, ROUNDS).unwrap(), "{composite}");
        }
        assert_eq!(small_primes().len(), 1229);
    }

    #[test]
    fn random_primes_have_their_length_and_suit_exponent_3() {
        for bits in [64, 100, 129] {
            let prime = random(bits).unwrap();
            assert_eq!(prime.bits(), u64::from(bits));
            assert!(prime.bit(u64::from(bits) - 2));
            assert_eq!(&prime % 3_u8, BigUint::from(2_u8));
            assert!(is_prime(&prime, ROUNDS).unwrap());
            assert_ne!(random(bits).unwrap(), prime);
        }
    }
}
