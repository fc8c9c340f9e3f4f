//! Owns the message ids that the broker makes for senders that made none, in the form of the Java client's.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use bolide_wire::ids::EpochMillis;

const DAY_MS: i64 = 86_400_000;

/// Makes ids: address, process, milliseconds since the month began, counter.
#[derive(Debug)]
pub(crate) struct UniqueIds {
    prefix: String,
    counter: AtomicU16,
}

impl UniqueIds {
    /// Ids of the process `pid` at `address`; `salt` tells two processes with the same number apart.
    pub(crate) fn new(address: IpAddr, pid: u32, salt: u32) -> UniqueIds {
        let mut prefix = String::with_capacity(56);
        match address {
            IpAddr::V4(address) => {
                address.octets().iter().for_each(|byte| hex(&mut prefix, u32::from(*byte), 2))
            }
            IpAddr::V6(address) => {
                address.octets().iter().for_each(|byte| hex(&mut prefix, u32::from(*byte), 2))
            }
        }
        hex(&mut prefix, pid & 0xFFFF, 4);
        hex(&mut prefix, salt, 8);
        UniqueIds { prefix, counter: AtomicU16::new(0) }
    }

    /// The next id.
    pub(crate) fn next(&self, now: EpochMillis) -> String {
        let mut id = String::with_capacity(self.prefix.len() + 12);
        id.push_str(&self.prefix);
        let since = now.0.saturating_sub(month_start_ms(now.0)).clamp(0, i64::from(u32::MAX));
        hex(&mut id, u32::try_from(since).unwrap_or(0), 8);
        hex(&mut id, u32::from(self.counter.fetch_add(1, Ordering::Relaxed)), 4);
        id
    }
}

fn hex(out: &mut String, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = (value >> (4 * place)) & 0xF;
        out.extend(char::from_digit(digit, 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

/// First instant of the UTC month that holds `now_ms`.
fn month_start_ms(now_ms: i64) -> i64 {
    let days = now_ms.div_euclid(DAY_MS);
    // Day of the month in the proleptic Gregorian calendar, from years that begin in March.
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (days - day_of_month) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        // 2026-11-23T12:53:40Z, 2024-02-29T00:00:00Z, 1970-01-01.
        assert_eq!(month_start_ms(1_795_438_420_000), 1_793_491_200_000);
        assert_eq!(month_start_ms(1_709_164_800_000), 1_706_745_600_000);
        assert_eq!(month_start_ms(0), 0);
    }

    #[test]
    fn ids_are_32_digits_and_differ() {
        let ids = UniqueIds::new(IpAddr::from([10, 0, 0, 255]), 70_000, 7);
        let (first, second) = (ids.next(EpochMillis(0)), ids.next(EpochMillis(0)));
        assert_eq!(first.len(), 32);
        assert!(first.starts_with("0A0000FF"));
        assert_ne!(first, second);
    }
}
