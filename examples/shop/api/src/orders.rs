//! The orders: one line each in one file that all instances append to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// What somebody wants.
pub struct Order {
    pub customer: Option<u64>,
    pub product: u32,
    pub quantity: u32,
    pub cents: u32,
}

/// The orders of all instances.
pub struct Orders {
    /// Opened for appending: the system puts each write at the end, whoever else writes.
    end: File,
    read: Mutex<SoFar>,
    /// Distinguishes this process, so that no two orders have the same number.
    process: u128,
    next: AtomicU64,
}

struct SoFar {
    file: File,
    bytes: u64,
    orders: u64,
}

impl Orders {
    /// Opens the orders in `folder`, which is made when it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("orders");
        let end = OpenOptions::new().create(true).append(true).open(&path)?;
        let file = File::open(path)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            end,
            read: Mutex::new(SoFar { file, bytes: 0, orders: 0 }),
            process: since.as_micros(),
            next: AtomicU64::new(1),
        })
    }

    /// Stores an order and tells its number. One write, so that lines of other instances never
    /// come in between.
    pub fn add(&self, order: &Order) -> io::Result<String> {
        let id = format!("{:x}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        let customer =
            order.customer.map_or_else(|| "guest".to_owned(), |number| number.to_string());
        let Order { product, quantity, cents, .. } = order;
        let line = format!("{id} {customer} {product} {quantity} {cents}\n");
        let written = (&self.end).write(line.as_bytes())?;
        if written < line.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "only a part was stored"));
        }
        Ok(id)
    }

    /// How many there are, of all instances.
    pub fn count(&self) -> io::Result<u64> {
        let mut so_far = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let from = so_far.bytes;
        so_far.file.seek(SeekFrom::Start(from))?;
        let mut buffer = [0; 64 * 1024];
        loop {
            let read = so_far.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(so_far.orders);
            }
            so_far.bytes += read as u64;
            so_far.orders += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_see_each_others_orders() {
        let folder = std::env::temp_dir().join(format!("shop-orders-{}", std::process::id()));
        let (one, other) = (Orders::open(&folder).unwrap(), Orders::open(&folder).unwrap());
        let order = Order { customer: Some(1), product: 1, quantity: 1, cents: 100 };
        std::thread::scope(|scope| {
            for orders in [&one, &other] {
                scope.spawn(|| (0..200).for_each(|_| drop(orders.add(&order).unwrap())));
            }
        });
        let counts = (one.count().unwrap(), other.count().unwrap(), one.count().unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(counts, (400, 400, 400));
    }
}
