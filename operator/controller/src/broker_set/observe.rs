//! What the brokers of a set say of themselves.

use std::collections::BTreeMap;

use bolide_resources::{Group, names};

use crate::brokers::Brokers;
use crate::context::Context;

/// The groups whose master answers, by number, with how full its disk is in percent if it says so.
pub(crate) type Seen = BTreeMap<u32, Option<u32>>;

/// Asks the master of every group, at the address that clients use.
pub(crate) async fn observe<B: Brokers>(ctx: &Context<B>, groups: &[Group]) -> Seen {
    let asked = groups.iter().map(async |group| {
        let runtime = ctx.brokers.runtime(&address(group)?).await;
        match runtime {
            Ok(runtime) => Some((group.number, disk_percent(&runtime))),
            Err(error) => {
                tracing::debug!(%error, group = group.number, "the master does not answer");
                None
            }
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Where the master of a group is reached.
pub(crate) fn address(group: &Group) -> Option<String> {
    group.address.as_ref().map(|address| format!("{address}:{}", names::BROKER_PORT))
}

/// Upstream gives the use of the disk as a fraction of 1.
fn disk_percent(runtime: &BTreeMap<String, String>) -> Option<u32> {
    let ratio: f64 = runtime.get("commitLogDiskRatio")?.parse().ok()?;
    if !(0.0..=1.0).contains(&ratio) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100, as just checked")]
    let percent = (ratio * 100.0).round() as u32;
    Some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_ratio_becomes_percent() {
        let of = |ratio: &str| disk_percent(&BTreeMap::from([("commitLogDiskRatio".to_owned(), ratio.to_owned())]));
        assert_eq!(of("0.414"), Some(41));
        assert_eq!(of("-1.0"), None);
        assert_eq!(of("NaN"), None);
        assert_eq!(disk_percent(&BTreeMap::new()), None);
    }
}
