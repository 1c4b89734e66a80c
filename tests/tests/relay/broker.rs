//! A Kafka of the test's own, and everything that is in it.

use std::collections::HashMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

const START_MAX: Duration = Duration::from_secs(60);
const READ_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Broker {
    process: Child,
    folder: PathBuf,
    port: u16,
}

/// How often the broker has each event, by source and id.
pub(crate) type Found = HashMap<(String, String), u64>;

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("relay/broker"))
}

impl Broker {
    /// `port` and the next one are free.
    pub(crate) fn start(folder: &Path, port: u16) -> Broker {
        let folder = folder.join("kafka");
        let formatted = script().arg("format").arg(&folder).arg(port.to_string()).status();
        assert!(formatted.is_ok_and(|status| status.success()), "`tests/relay/broker install` fetches Kafka");
        let process = run(&folder);
        let mut broker = Broker { process, folder, port };
        broker.wait();
        broker
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = run(&self.folder);
        self.wait();
    }

    /// Reads a topic from its beginning to its end.
    pub(crate) fn read(&self, topic: &str) -> Found {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .set("group.id", "tollgate-tests")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), START_MAX).unwrap();
        let (mut list, mut left) = (TopicPartitionList::new(), 0);
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), START_MAX).unwrap();
            left += high - low;
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, start) = (Found::new(), Instant::now());
        while left > 0 {
            assert!(start.elapsed() < READ_MAX, "{left} records of {topic} cannot be read");
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record.unwrap();
            let headers = record.headers().expect("an event has its attributes");
            let header = |name: &str| {
                let value = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
                String::from_utf8(value.expect(name).to_vec()).unwrap()
            };
            assert_eq!(
                (header("ce_specversion"), header("content-type")),
                ("1.0".into(), "application/json".into())
            );
            serde_json::from_slice::<serde_json::Value>(record.payload().unwrap()).unwrap();
            *found.entry((header("ce_source"), header("ce_id"))).or_default() += 1;
            left -= 1;
        }
        found
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < START_MAX, "Kafka does not listen");
            assert!(self.process.try_wait().unwrap().is_none(), "Kafka ended");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(folder: &Path) -> Child {
    // The script becomes the broker, so that killing it kills that.
    script().arg("run").arg(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
