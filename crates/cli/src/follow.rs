//! Following a deployment to its end: a block on a terminal, lines elsewhere.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use tidegate_core::Event;
use tidegate_engine::EnvironmentView;
use tidegate_server::{
    api::{DeploymentRow, EventRow},
    client::{Client, Error, Lines},
};
use tidegate_types::{DeploymentId, Scope, Timestamp};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{context::Context, exit::Exit, fault::Fault, render};

/// Time between two drawings of the block.
const FRAME: Duration = Duration::from_millis(100);
/// How long a control plane that died may take to come back.
const PATIENCE: Duration = Duration::from_mins(1);

/// A control plane that was told to end has taken its socket away by then.
const GRACE: Duration = Duration::from_millis(2_500);

/// How the following ended.
pub(crate) enum Followed {
    /// With the deployment.
    Ended(Box<DeploymentRow>, Box<EnvironmentView>),
    /// By Ctrl-C.
    Interrupted,
    /// The time given was over.
    TimedOut(Box<EnvironmentView>),
}

/// Follows a deployment until its end, or for as long as `timeout`.
pub(crate) async fn follow(
    context: &Context,
    scope: &Scope,
    id: DeploymentId,
    timeout: Option<tidegate_types::Duration>,
) -> Result<Followed, Fault> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| {
        Fault::new(Exit::Failed, "signal", format!("Ctrl-C cannot be heard: {error}"))
    })?;
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout.into());
    let client = context.client();
    let mut screen = Screen::new(context.clone());
    let mut after = 0;
    loop {
        let mut seen = Seen { after, view: None, taken: Instant::now(), progress: None };
        let pass = pass(&client, scope, id, &mut seen, &mut screen, &mut interrupt, deadline).await;
        after = seen.after;
        match pass {
            Ok(Pass::Over) => {
                screen.clear();
                match ended(&client, scope, id).await {
                    Ok(Some(ended)) => return Ok(ended),
                    Ok(None) => return Err(shut_down(scope)),
                    Err(Error::Unreachable { .. }) if is_shut_down(&client).await => {
                        return Err(shut_down(scope));
                    }
                    // The next pass finds out whether it comes back.
                    Err(Error::Unreachable { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(Pass::Interrupted) => {
                screen.clear();
                return Ok(Followed::Interrupted);
            }
            Ok(Pass::TimedOut) => {
                screen.clear();
                let view = client.environment(scope).await?;
                return Ok(Followed::TimedOut(Box::new(view)));
            }
            Err(Error::Unreachable { .. }) => {
                screen.clear();
                if is_shut_down(&client).await {
                    return Err(shut_down(scope));
                }
                if !come_back(context, &client, &mut interrupt).await {
                    return Err(stopped(scope));
                }
            }
            Err(error) => {
                screen.clear();
                return Err(error.into());
            }
        }
    }
}

/// How the deployment ended, if it has.
async fn ended(
    client: &Client,
    scope: &Scope,
    id: DeploymentId,
) -> Result<Option<Followed>, Error> {
    let row = client.deployment(id).await?.deployment;
    if row.ended_at.is_none() {
        return Ok(None);
    }
    let view = client.environment(scope).await?;
    Ok(Some(Followed::Ended(Box::new(row), Box::new(view))))
}

/// Whether the control plane was told to end: then it takes its socket away; one that died left it.
async fn is_shut_down(client: &Client) -> bool {
    let began = Instant::now();
    let mut gone = 0;
    while began.elapsed() < GRACE {
        gone = if client.socket().exists() { 0 } else { gone + 1 };
        // One that comes up has none for a moment either.
        if gone > 4 {
            return true;
        }
        if gone == 0 && client.health().await.is_ok() {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

/// What serves is left open: that may have been stopped as well.
fn shut_down(scope: &Scope) -> Fault {
    Fault::new(
        Exit::Unreachable,
        "unreachable",
        "the control plane is not up any more; `tidegate up` goes on with the deployment",
    )
    .next("tidegate up")
    .next(format!("tidegate watch {}", scope.environment))
}

fn stopped(scope: &Scope) -> Fault {
    let mut fault = Fault::new(
        Exit::Unreachable,
        "unreachable",
        "the control plane ended before the deployment",
    )
    .next("tidegate up")
    .next(format!("tidegate watch {}", scope.environment));
    fault.state = vec![
        "what serves goes on serving; the deployment goes on when the control plane is up again"
            .to_owned(),
    ];
    fault
}

async fn come_back(context: &Context, client: &Client, interrupt: &mut Signal) -> bool {
    context.note(format!(
        "the control plane is gone; what serves goes on serving. Waiting {} s for it (`tidegate up` \
         starts it)",
        PATIENCE.as_secs()
    ));
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        tokio::select! {
            _ = interrupt.recv() => return false,
            () = sleep(Duration::from_millis(250)) => {}
        }
        if client.health().await.is_ok() {
            context.note("the control plane is back");
            return true;
        }
    }
    false
}

enum Pass {
    Over,
    Interrupted,
    TimedOut,
}

struct Seen {
    after: u64,
    view: Option<EnvironmentView>,
    taken: Instant,
    progress: Option<String>,
}

impl Seen {
    /// The engine's time: what the last view said, and what has passed since.
    fn now(&self) -> Option<Timestamp> {
        let passed = u64::try_from(self.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        let view = self.view.as_ref()?;
        Some(view.at.after(tidegate_types::Duration::from_millis(passed)))
    }
}

async fn pass(
    client: &Client,
    scope: &Scope,
    id: DeploymentId,
    seen: &mut Seen,
    screen: &mut Screen,
    interrupt: &mut Signal,
    deadline: Option<tokio::time::Instant>,
) -> Result<Pass, Error> {
    let row = client.deployment(id).await?.deployment;
    let mut views: Lines<EnvironmentView> = client.watch(scope).await?;
    let mut events = client.follow(id, seen.after).await?;
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What happened is told before what it led to.
            biased;
            event = events.next() => match event? {
                None => return Ok(Pass::Over),
                Some(event) => {
                    seen.after = event.seq;
                    screen.event(&event, row.requested_at);
                }
            },
            view = views.next() => match view? {
                None => return Ok(Pass::Over),
                Some(view) => {
                    let progress = view
                        .deployment
                        .as_ref()
                        .filter(|deployment| deployment.id == id)
                        .and_then(|deployment| deployment.progress.clone());
                    if let Some(progress) = progress
                        && seen.progress.as_ref() != Some(&progress)
                    {
                        screen.progress(&progress, view.at, row.requested_at);
                        seen.progress = Some(progress);
                    }
                    seen.view = Some(view);
                    seen.taken = Instant::now();
                }
            },
            _ = frames.tick(), if screen.context.live => {
                if let (Some(view), Some(now)) = (&seen.view, seen.now())
                    && view.deployment.as_ref().is_some_and(|deployment| deployment.id == id)
                {
                    screen.draw(view, now);
                }
            }
            _ = interrupt.recv() => return Ok(Pass::Interrupted),
            () = until(deadline) => return Ok(Pass::TimedOut),
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The lines at the end of a block that are never left out: what is waited for, and what ends it.
const LAST: usize = 2;

/// Leaves lines out of the middle until there are `most`.
fn fit(lines: &mut Vec<String>, most: usize) {
    if lines.len() <= most {
        return;
    }
    let last = LAST.min(most - 1);
    let first = most - 1 - last;
    let left = lines.len() - first - last;
    lines.splice(first..first + left, [format!("  … {left} more lines")]);
}

/// What is on the terminal.
struct Screen {
    context: Context,
    /// Lines of the block that is drawn.
    drawn: usize,
    width: usize,
}

/// Columns and lines of the terminal on stderr; without one nothing is cut.
pub(crate) fn size() -> (usize, usize) {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or((usize::MAX, 40), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

impl Screen {
    const fn new(context: Context) -> Self {
        Self { context, drawn: 0, width: 0 }
    }

    fn draw(&mut self, view: &EnvironmentView, now: Timestamp) {
        let (width, height) = size();
        let mut lines = render::deployment::render(view, width, now, self.context.talk_style);
        // A block that is higher than the terminal could not be drawn over.
        fit(&mut lines, height.saturating_sub(1).max(1));
        let mut text = String::new();
        if self.drawn > 0 && self.width != width {
            // What the terminal did to the old lines is unknown.
            text.push_str("\x1b[2J\x1b[H");
        } else if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        for line in &lines {
            text.push_str("\r\x1b[2K");
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        self.width = width;
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }

    /// Takes the block away.
    fn clear(&mut self) {
        if self.drawn > 0 {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\x1b[{}A\r\x1b[J", self.drawn);
            let _ = stderr.flush();
            self.drawn = 0;
        }
    }

    fn event(&mut self, event: &EventRow, since: Timestamp) {
        let Ok(read) = serde_json::from_value::<Event>(event.payload.clone()) else { return };
        if let Some(sentence) = render::event::sentence(&read) {
            self.line(&sentence, event.at, since);
        }
    }

    fn progress(&mut self, progress: &str, at: Timestamp, since: Timestamp) {
        if !self.context.live {
            self.line(progress, at, since);
        }
    }

    /// A line that stays; on a terminal above the block.
    fn line(&mut self, sentence: &str, at: Timestamp, since: Timestamp) {
        self.clear();
        let time = render::time::clock(at.since(since));
        self.context.talk(format!("{} {sentence}", self.context.talk_style.dim(&time)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_too_high_keeps_its_end() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut block = lines("a b c d waits ends");
        fit(&mut block, 6);
        assert_eq!(block, lines("a b c d waits ends"));
        fit(&mut block, 5);
        assert_eq!(block, ["a", "b", "  … 2 more lines", "waits", "ends"]);
        let mut block = lines("a b c d waits ends");
        fit(&mut block, 1);
        assert_eq!(block, ["  … 6 more lines"]);
    }
}
