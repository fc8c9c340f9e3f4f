//! Which member of a group reads which queues: the averaged allocation of the official clients, so that members of both kinds share.

/// The part of `queues` that belongs to `me`. Both lists must be in the order that every member sees.
pub(crate) fn average<'a, T>(queues: &'a [T], members: &[String], me: &str) -> &'a [T] {
    let Some(index) = members.iter().position(|member| member == me) else { return &[] };
    let (share, rest) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * share + index.min(rest);
    let count = share + usize::from(index < rest);
    queues.get(start..start + count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(queues: usize, members: usize) -> Vec<Vec<usize>> {
        let all: Vec<usize> = (0..queues).collect();
        let names: Vec<String> = (0..members).map(|member| member.to_string()).collect();
        names.iter().map(|name| average(&all, &names, name).to_vec()).collect()
    }

    #[test]
    fn six_queues_are_shared_as_the_official_clients_do() {
        assert_eq!(shares(6, 2), [vec![0, 1, 2], vec![3, 4, 5]]);
        assert_eq!(shares(6, 4), [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        assert_eq!(shares(1, 2), [vec![0], vec![]]);
    }

    #[test]
    fn every_queue_has_exactly_one_reader() {
        for queues in 0..12 {
            for members in 1..8 {
                assert_eq!(shares(queues, members).concat(), (0..queues).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_stranger_gets_nothing() {
        assert!(average(&[1, 2], &["a".to_owned()], "b").is_empty());
        assert!(average::<i32>(&[1, 2], &[], "b").is_empty());
    }
}
