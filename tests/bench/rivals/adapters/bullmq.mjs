// BullMQ on Node, removing finished jobs. The protocol is that of common.py.
import { appendFileSync, openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { Job, Queue, Worker } = createRequire(process.env.RIVALS_NODE_MODULES + "/")("bullmq");

const log = process.env.RIVALS_LOG;
const url = new URL(process.env.RIVALS_URL);
const keepResults = process.env.RIVALS_RESULTS === "1";
const leaseS = Number(process.env.RIVALS_LEASE_S || 0);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const kept = { removeOnComplete: !keepResults };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nowNs = () => Math.round((performance.timeOrigin + performance.now()) * 1e6);

const done = openSync(`${log}/done`, "a");
const self = { pid: process.pid, parent: process.ppid };
const note = (what, facts) =>
  appendFileSync(`${log}/events`, JSON.stringify({ what, ...self, at: Date.now() / 1000, ...facts }) + "\n");

const jobs = {
  noop: async () => void writeSync(done, "."),
  hello: async () => note("hello", {}),
  pickup: async (sentNs) => note("pickup", { ms: (nowNs() - sentNs) / 1e6 }),
  work: async (key, seconds) => {
    note("start", { key });
    await sleep(seconds * 1000);
    note("end", { key });
    return String(process.pid);
  },
};

function runWorker() {
  const tuned = leaseS ? { lockDuration: leaseS * 500, stalledInterval: leaseS * 500 } : {};
  const worker = new Worker("bench", (job) => jobs[job.name](...job.data), { connection, concurrency: 100, ...tuned });
  worker.on("error", (error) => console.error(String(error)));
}

const queue = process.argv[2] === "drive" ? new Queue("bench", { connection, defaultJobOptions: kept }) : null;
queue?.on("error", (error) => console.error(String(error)));

const verbs = {
  bulk: async (count) => {
    for (let start = 0; start < count; start += 1000) {
      const size = Math.min(1000, count - start);
      await queue.addBulk(Array.from({ length: size }, () => ({ name: "noop", data: [] })));
    }
  },
  single: async (count) => {
    for (let index = 0; index < count; index++) await queue.add("noop", []);
  },
  pickup: async (count) => {
    for (let index = 0; index < count; index++) {
      await queue.add("pickup", [nowNs()]);
      await sleep(30 + 0.7 * (index % 10)); // not in step with anyone's poll
    }
  },
  send: async (job, ...args) => (await queue.add(job, args)).id,
  result: async (id) => (await Job.fromId(queue, id))?.returnvalue ?? null,
};

async function drive() {
  await queue.waitUntilReady();
  console.log(JSON.stringify("ready"));
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, ...args] = JSON.parse(line);
    const started = performance.now();
    let answer;
    try {
      answer = (await verbs[verb](...args)) ?? (verb === "result" ? null : (performance.now() - started) / 1000);
    } catch (error) {
      answer = { error: String(error) };
    }
    console.log(JSON.stringify(answer));
  }
}

if (queue) await drive();
else runWorker();
