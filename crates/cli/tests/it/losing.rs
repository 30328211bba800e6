//! No request is lost, whatever happens around the proxy and to itself.

use std::time::Duration;

use tidegate_loss::{Contender, Kind, Settings, run};

#[test]
fn nothing_is_lost_while_shares_instances_publishers_and_the_proxy_change() {
    let settings = Settings {
        application: tidegate_testapp::executable(),
        flips: 100,
        flip_pause: Duration::from_millis(25),
        answers: 100,
    };
    let proxy = Contender::Tidegate(env!("CARGO_BIN_EXE_tidegate").into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run(&proxy, &settings)).unwrap();
    assert_eq!(report.lost(), 0, "\n{report}");
    assert!(report.flips >= settings.flips, "\n{report}");
    for kind in Kind::ALL {
        assert!(report.tallies[&kind].answered > 0, "{kind}\n{report}");
    }
    let done = report.done;
    for times in [done.joined, done.drained, done.killed, done.publisher_gone, done.upgraded] {
        assert!(times > 0, "\n{report}");
    }
}
