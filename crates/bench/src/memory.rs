//! How much memory the processes that stay take.

use std::{fs, time::Duration};

use tokio::time::sleep;

use crate::{
    Failure,
    data_plane::mebibytes,
    figure::{Figures, Goal},
    place::Place,
};

/// Nothing happens any more by then.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn measure(place: &Place, figures: &mut Figures) -> Result<(), Failure> {
    sleep(REST).await;
    add(figures, "resident memory: idle control plane", place.control_plane()?, 30.0)?;
    add(figures, "resident memory: proxy", place.proxy()?, 15.0)
}

/// The same after everything else was measured.
pub(crate) async fn measure_later(place: &Place, figures: &mut Figures) -> Result<(), Failure> {
    sleep(REST).await;
    let what = "… control plane started with 10,000 deployments in its history";
    add(figures, what, place.control_plane()?, 30.0)?;
    add(figures, "… proxy after 15 canaries under traffic", place.proxy()?, 15.0)
}

fn add(figures: &mut Figures, what: &str, pid: u32, limit: f64) -> Result<(), Failure> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map_err(|error| format!("the memory of process {pid}: {error}"))?;
    let (rss, pss) = (mebibytes(&rollup, "Rss:")?, mebibytes(&rollup, "Pss:")?);
    figures.add(what, Goal::AtMost(limit), "MiB", rss, f64::NAN);
    // Pages that several processes share, divided among them.
    figures.add("… Pss of the same", Goal::None, "MiB", pss, f64::NAN);
    Ok(())
}
