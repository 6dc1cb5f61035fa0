// Counts visits in Redis, and says which of the two it is.
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");

// One command over a connection of its own; its answer is `:number`, or `-complaint`.
function visit() {
  return new Promise((resolve, reject) => {
    const redis = net.connect(6379, "redis", () => redis.end("INCR visits\r\nQUIT\r\n"));
    let answer = "";
    redis.setEncoding("utf8");
    redis.on("data", (text) => (answer += text));
    redis.on("error", reject);
    redis.on("close", () => (answer[0] === ":" ? resolve(parseInt(answer.slice(1), 10)) : reject(new Error(answer))));
  });
}

const server = http.createServer(async (request, response) => {
  try {
    response.end(`${os.hostname()}: visits counted by Redis: ${await visit()}\n`);
  } catch (error) {
    response.writeHead(500).end(`${error}\n`);
  }
});
process.on("SIGTERM", () => process.exit(0));
server.listen(5000);
