//! A connection to Redis that is opened when it is needed and again when it broke.
//!
//! Never waits for Redis to come up: a command fails at once and its caller decides. After a failed connection
//! attempt the next ones fail without trying for a moment, so that requests do not queue behind a dead host.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;

use crate::environment::{SettingError, error};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// One shared connection; commands of many tasks are pipelined on it.
pub struct Link {
    client: Client,
    answer_within: Duration,
    state: Mutex<State>,
}

enum State {
    Closed,
    Open(MultiplexedConnection),
    Failed { at: Instant, why: String },
}

impl Link {
    /// A link to `url` (`redis://host:port/db`) on which each command may take `answer_within`.
    pub fn new(url: &str, answer_within: Duration) -> Result<Self, SettingError> {
        // The value may hold a password, so the error does not show it.
        let client = Client::open(url).map_err(|_| error("REDIS_URL", "…", "redis://host:port/database"))?;
        Ok(Self { client, answer_within, state: Mutex::new(State::Closed) })
    }

    /// Runs one command.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        self.keep_or_close(answer).await
    }

    /// Runs several commands in one round trip; make the pipeline `atomic()` where all or none must happen.
    pub async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let answer = commands.query_async(&mut connection).await;
        self.keep_or_close(answer).await
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(connection) => return Ok(connection.clone()),
            State::Failed { at, why } if at.elapsed() < REST_AFTER_FAILURE => {
                return Err(RedisError::from((ErrorKind::Io, "could not connect a moment ago", why.clone())));
            }
            State::Closed | State::Failed { .. } => {}
        }
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(self.answer_within));
        match self.client.get_multiplexed_async_connection_with_config(&limits).await {
            Ok(connection) => {
                *state = State::Open(connection.clone());
                Ok(connection)
            }
            Err(failure) => {
                *state = State::Failed { at: Instant::now(), why: failure.to_string() };
                Err(failure)
            }
        }
    }

    /// A connection that timed out is closed as well: its late answers would delay the next commands.
    async fn keep_or_close<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(failure) = &answer
            && (failure.is_io_error() || failure.is_timeout() || failure.is_unrecoverable_error())
        {
            *self.state.lock().await = State::Closed;
        }
        answer
    }
}
