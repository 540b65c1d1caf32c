use ::scylla::{client::session::Session, cluster::metadata::Strategy, statement};

use crate::Reads;

/// How many replicas have to answer a read, or a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Consistency {
    /// One.
    One,
    /// A majority of all replicas, in whichever datacentres they are.
    #[default]
    Quorum,
    /// A majority of those in the datacentre of the coordinator. In a keyspace of one datacentre it is
    /// [`Quorum`](Self::Quorum); of several, two such majorities have no replica in common.
    LocalQuorum,
    /// Writes only: a majority in every datacentre, so that a read by [`LocalQuorum`](Self::LocalQuorum) sees them in
    /// any.
    EachQuorum,
    /// All of them: one that is down fails the call.
    All,
}

impl Consistency {
    pub(super) const fn driver(self) -> statement::Consistency {
        match self {
            Self::One => statement::Consistency::One,
            Self::Quorum => statement::Consistency::Quorum,
            Self::LocalQuorum => statement::Consistency::LocalQuorum,
            Self::EachQuorum => statement::Consistency::EachQuorum,
            Self::All => statement::Consistency::All,
        }
    }

    /// What reads of `self` see of writes of `writes`, whatever the number of replicas: all, where any replicas of the
    /// one have one in common with any of the other.
    pub(super) const fn sees(self, writes: Self, one_datacentre: bool) -> Reads {
        match (self.quorum(one_datacentre), writes.quorum(one_datacentre)) {
            (Self::All, _)
            | (_, Self::All)
            | (Self::Quorum, Self::Quorum | Self::EachQuorum)
            | (Self::EachQuorum, Self::Quorum | Self::EachQuorum | Self::LocalQuorum)
            | (Self::LocalQuorum, Self::EachQuorum) => Reads::Latest,
            _ => Reads::MayLag,
        }
    }

    const fn quorum(self, one_datacentre: bool) -> Self {
        match self {
            Self::LocalQuorum | Self::EachQuorum if one_datacentre => Self::Quorum,
            other => other,
        }
    }
}

/// Whether the rows of `keyspace` have all their replicas in one datacentre, as far as the driver knows.
pub(super) fn in_one_datacentre(session: &Session, keyspace: &str) -> bool {
    match session.get_cluster_state().get_keyspace(keyspace).map(|keyspace| &keyspace.strategy) {
        // A majority of all of them is asked for there, by whatever name.
        Some(Strategy::SimpleStrategy { .. } | Strategy::LocalStrategy) => true,
        Some(Strategy::NetworkTopologyStrategy { datacenter_repfactors }) => {
            datacenter_repfactors.values().filter(|replicas| **replicas > 0).count() <= 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Consistency::{self, All, EachQuorum, LocalQuorum, One, Quorum};
    use crate::Reads;

    const LEVELS: [Consistency; 5] = [One, Quorum, LocalQuorum, EachQuorum, All];

    /// Whether `replicas`, a bit for each, are as many as `level` asks for, when the coordinator is in `local`.
    fn enough(level: Consistency, replicas: u32, datacentres: &[u32], local: u32) -> bool {
        let majority = |of: u32| (replicas & of).count_ones() > of.count_ones() / 2;
        let every = datacentres.iter().sum();
        match level {
            One => replicas != 0,
            Quorum => majority(every),
            LocalQuorum => majority(local),
            EachQuorum => datacentres.iter().all(|datacentre| majority(*datacentre)),
            All => replicas == every,
        }
    }

    /// Whether any replicas that satisfy `reads` have one in common with any that satisfy `writes`.
    fn meet(reads: Consistency, writes: Consistency, datacentres: &[u32]) -> bool {
        let every: u32 = datacentres.iter().sum();
        let sets = |level, local| (0..=every).filter(move |set| enough(level, *set, datacentres, local));
        datacentres.iter().all(|reader| {
            datacentres.iter().all(|writer| {
                sets(reads, *reader).all(|read| sets(writes, *writer).all(|written| read & written != 0))
            })
        })
    }

    #[test]
    fn latest_is_claimed_just_where_every_two_sets_of_replicas_meet() {
        let one: &[&[u32]] = &[&[0b1], &[0b11], &[0b111], &[0b1111], &[0b1_1111]];
        let several: &[&[u32]] =
            &[&[0b1, 0b10], &[0b11, 0b1100], &[0b111, 0b11_1000], &[0b1, 0b110], &[0b11, 0b1100, 0b11_0000]];
        for (one_datacentre, layouts) in [(true, one), (false, several)] {
            for reads in LEVELS {
                for writes in LEVELS {
                    let always = layouts.iter().all(|layout| meet(reads, writes, layout));
                    let claimed = reads.sees(writes, one_datacentre) == Reads::Latest;
                    assert_eq!(claimed, always, "{reads:?}, {writes:?}, one datacentre: {one_datacentre}");
                }
            }
        }
    }
}
