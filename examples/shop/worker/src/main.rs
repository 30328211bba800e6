//! Ships orders: what is in the API's file `orders` and not yet in the worker's `shipped` goes there.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let Some(orders) = env::args_os().nth(1) else {
        eprintln!("usage: shop-worker FOLDER-WITH-ORDERS");
        return ExitCode::from(2);
    };
    let own = env::var_os("TIDEGATE_DATA").unwrap_or_else(|| "data".into());
    match run(&Path::new(&orders).join("orders"), own.as_ref()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("shop-worker: cannot ship the orders: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(orders: &Path, own: &Path) -> io::Result<std::convert::Infallible> {
    fs::create_dir_all(own)?;
    let shipped = own.join("shipped");
    let done = match File::open(&shipped) {
        Ok(file) => BufReader::new(file).lines().count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    println!("shop-worker goes on after {done} shipped orders");
    let mut shipped = OpenOptions::new().create(true).append(true).open(shipped)?;
    // Before the first start of the API there are none.
    let orders = loop {
        match File::open(orders) {
            Ok(file) => break file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => sleep(PAUSE),
            Err(error) => return Err(error),
        }
    };
    let mut orders = BufReader::new(orders);
    let mut line = String::new();
    let mut passed = 0;
    loop {
        let mut batch = String::new();
        let mut count = 0;
        // A line without its end is still being written: the next look gets the rest.
        while orders.read_line(&mut line)? > 0 && line.ends_with('\n') {
            passed += 1;
            if passed > done {
                batch.push_str(line.split(' ').next().unwrap_or_default());
                batch.push('\n');
                count += 1;
            }
            line.clear();
        }
        if count > 0 {
            shipped.write_all(batch.as_bytes())?;
            println!("shipped {count} orders");
        }
        sleep(PAUSE);
    }
}
