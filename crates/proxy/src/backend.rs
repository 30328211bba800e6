//! A revision on a route: who of its instances is asked, and what is made of how they answer.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;
use tidegate_types::RevisionId;

use crate::{
    budget::Budget,
    clock,
    endpoint::Endpoint,
    files::Site,
    gate::{Gate, Room},
    health::{Cause, Rank, View, may_eject},
    limits::Limits,
    meter::RevisionMeter,
    pick::{self, Candidate, Choice, Pick, Random},
    visitor::CANDIDATE,
};

/// A revision on a route.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) revision: RevisionId,
    pub(crate) role: String,
    pub(crate) share: u32,
    pub(crate) meter: Arc<RevisionMeter>,
    pub(crate) turn: Cell<usize>,
    /// What limits the requests to it.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Held by who leaves one of its instances alone.
    pub(crate) ejecting: Arc<Mutex<()>>,
    /// In milliseconds.
    pub(crate) slow_start: u64,
    /// Of the requests that are sent again.
    pub(crate) budget: Rc<Budget>,
    pub(crate) destination: Destination,
}

/// Where a revision's requests go.
#[derive(Debug)]
pub(crate) enum Destination {
    Endpoints(Vec<Rc<Endpoint>>),
    Files(Arc<Site>),
}

impl Backend {
    /// Whether there is anybody to ask.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.destination {
            Destination::Endpoints(endpoints) => !endpoints.is_empty(),
            Destination::Files(_) => true,
        }
    }

    /// Its instances; none where files answer.
    pub(crate) fn endpoints(&self) -> &[Rc<Endpoint>] {
        match &self.destination {
            Destination::Endpoints(endpoints) => endpoints,
            Destination::Files(_) => &[],
        }
    }

    /// As a choice for a visitor.
    pub(crate) fn choice(&self, ready: bool) -> Choice {
        Choice { share: self.share, ready, candidate: self.role == CANDIDATE }
    }

    /// The endpoint for the next request, other than those that were tried.
    pub(crate) fn endpoint(&self, tried: &[Rc<Endpoint>], random: &Random) -> Option<Rc<Endpoint>> {
        // The common case needs neither a choice nor a clock.
        if let Destination::Endpoints(endpoints) = &self.destination
            && let [only] = endpoints.as_slice()
        {
            return (!is_among(only, tried)).then(|| Rc::clone(only));
        }
        match self.pick(tried, random, None) {
            (Pick::This(index), endpoints) => Some(Rc::clone(&endpoints[index])),
            _ => None,
        }
    }

    /// The same where each takes no more than `limit` requests at once; none when nobody is left
    /// who was not tried.
    pub(crate) fn endpoint_with_room(
        &self,
        tried: &[Rc<Endpoint>],
        random: &Random,
        limit: u32,
    ) -> Room<Option<Rc<Endpoint>>> {
        match self.pick(tried, random, Some(limit)) {
            (Pick::This(index), endpoints) => {
                let endpoint = Rc::clone(&endpoints[index]);
                let occupancy = Arc::clone(&endpoint.health.occupancy);
                Room::Free(Some(endpoint), occupancy)
            }
            (Pick::Full, _) => Room::None,
            (Pick::FullForThis, _) => Room::ForOthers,
            // To be found out by who looks, without a wait.
            (Pick::Nobody, _) => Room::Free(None, Arc::default()),
        }
    }

    fn pick(
        &self,
        tried: &[Rc<Endpoint>],
        random: &Random,
        limit: Option<u32>,
    ) -> (Pick, &[Rc<Endpoint>]) {
        let Destination::Endpoints(endpoints) = &self.destination else {
            return (Pick::Nobody, &[]);
        };
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let mut now = None;
        let mut somebody_is_warm = None;
        let picked = pick::endpoint(endpoints.len(), turn, |index| {
            let endpoint = &endpoints[index];
            let occupancy = endpoint.health.occupancy.read();
            Candidate {
                rank: match endpoint.health.view() {
                    View::Fit => Rank::Takes,
                    seen => {
                        let now = *now.get_or_insert_with(clock::millis);
                        let view = seen.by(now, self.slow_start);
                        if view == View::Fit {
                            endpoint.health.is_fit(seen);
                        }
                        // Who is new is spared for those who are not; where all are new, the load
                        // decides.
                        let is_warm = |other: &Rc<Endpoint>| {
                            other.health.view().by(now, self.slow_start) == View::Fit
                        };
                        match view.rank(now, self.slow_start, || random.next()) {
                            Rank::Spared
                                if !*somebody_is_warm
                                    .get_or_insert_with(|| endpoints.iter().any(is_warm)) =>
                            {
                                Rank::Takes
                            }
                            rank => rank,
                        }
                    }
                },
                // Where it is counted over all workers, that is the better number.
                in_flight: limit.map_or_else(|| endpoint.in_flight(), |_| occupancy),
                full: limit.is_some_and(|limit| occupancy >= limit),
                tried: is_among(endpoint, tried),
            }
        });
        (picked, endpoints)
    }

    /// What the head of an answer says of who gave it. Of statuses only those count that say that
    /// something is wrong on its side, whatever was asked. What is right shows at the end.
    pub(crate) fn has_answered(&self, endpoint: &Endpoint, status: StatusCode, limits: &Limits) {
        if let StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT = status
        {
            self.has_failed(endpoint, limits);
        }
    }

    /// It took a request and broke off, did not answer in time, or could not answer it. After
    /// several of them in a row it is left alone for a while, unless too many are out already:
    /// then it is probably not the instance that is to blame.
    pub(crate) fn has_failed(&self, endpoint: &Endpoint, limits: &Limits) {
        let now = clock::millis();
        if endpoint.health.failed(now) < limits.ejection_failures.max(1) {
            return;
        }
        let Destination::Endpoints(endpoints) = &self.destination else {
            return;
        };
        let _one_after_the_other = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_out = |endpoint: &Endpoint| endpoint.health.view().by(now, 0).is_out();
        let out = endpoints.iter().filter(|endpoint| is_out(endpoint)).count();
        if !is_out(endpoint) && may_eject(out, endpoints.len(), limits.ejection_percent) {
            tracing::warn!(revision = %self.revision, "an instance fails and is left alone");
            endpoint.health.eject(Cause::Failing, limits.ejection(), now);
        }
    }
}

fn is_among(endpoint: &Rc<Endpoint>, tried: &[Rc<Endpoint>]) -> bool {
    tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint))
}
