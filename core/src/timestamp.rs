//! RFC 3339 timestamps in UTC.

const US_PER_DAY: u64 = 86_400_000_000;

/// Appends `2026-01-31T23:59:59.123456Z`. Years beyond 9999, which RFC 3339 cannot say, lose their first digits.
pub(crate) fn write(wall_us: u64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(wall_us / US_PER_DAY);
    let us = wall_us % US_PER_DAY;
    let (seconds, us) = ((us / 1_000_000) as u32, (us % 1_000_000) as u32);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    pair(&mut text, 0, (year / 100 % 100) as u32);
    pair(&mut text, 2, (year % 100) as u32);
    pair(&mut text, 5, month as u32);
    pair(&mut text, 8, day as u32);
    pair(&mut text, 11, seconds / 3_600);
    pair(&mut text, 14, seconds / 60 % 60);
    pair(&mut text, 17, seconds % 60);
    pair(&mut text, 20, us / 10_000);
    pair(&mut text, 22, us / 100 % 100);
    pair(&mut text, 24, us % 100);
    out.extend_from_slice(&text);
}

fn pair(text: &mut [u8; 27], at: usize, value: u32) {
    text[at] = b'0' + (value / 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

/// Year, month and day of a day counted from the Unix epoch (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(wall_us: u64) -> String {
        let mut out = Vec::new();
        write(wall_us, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_epoch_and_a_leap_day() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(1_709_251_199_999_999), "2024-02-29T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn agrees_with_a_calendar_library(seconds in 0u64..253_402_300_799, us in 0u64..1_000_000) {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, us as u32 * 1_000);
            let expected = humantime::format_rfc3339_micros(time).to_string();
            prop_assert_eq!(text(seconds * 1_000_000 + us), expected);
        }
    }
}
