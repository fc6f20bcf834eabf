// graphile-worker: jobs of a filled queue. One process a worker, as its own benchmark has it: local queue of 500, completions gathered.
// Usage: node graphile.mjs SERVER JOBS SECONDS
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { run, runMigrations } from "graphile-worker";
import pg from "pg";
import { BESIDE, EACH, WAITING, WORKERS, fresh, gone, rate, sleep, version } from "./common.mjs";

const AT_ONCE = 24;

if (process.argv[2] === "worker") await work(process.argv[3], process.argv[4]);
else await measure(process.argv[2], Number(process.argv[3]), Number(process.argv[4]) * 1000);

/** One worker process: tells its parent when it began and how many it did. */
async function work(url, how) {
  // All begin together, once each has started and read its modules.
  const go = new Promise((go) => process.once("message", go));
  process.send("ready");
  await go;
  let [begun, done, told] = [0, 0, 0];
  const tell = () => {
    if (done > told) process.send({ begun, done: (told = done) });
  };
  setInterval(tell, 10);
  const local = { localQueue: { size: 500 }, completeJobBatchDelay: 0 };
  await run({
    preset: {
      worker: {
        connectionString: url,
        concurrentJobs: AT_ONCE,
        maxPoolSize: AT_ONCE + 2,
        pollInterval: 100,
        ...(how === "plain" ? {} : local),
      },
    },
    noHandleSignals: true,
    logger: undefined,
    taskList: {
      nothing: async () => {
        begun ||= Date.now();
        done += 1;
      },
    },
  });
}

/** Does `wanted` of `jobs` with so many workers. */
async function drain(server, how, workers, jobs, wanted, most) {
  const url = await fresh(server, "peer_graphile_node");
  await runMigrations({ connectionString: url });
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  // A connection that is just ending when its database is dropped says so.
  pool.on("error", () => {});
  await pool.query(
    `select count(*) from graphile_worker.add_jobs(array(select row('nothing', json_build_object('n', n),
       ${how === "ordered" ? `'A-' || n / ${EACH}` : "null"}, null, null, null, null, null)::graphile_worker.job_spec
     from generate_series(0, $1::int - 1) n))`,
    [jobs],
  );
  const said = new Map();
  const children = Array.from({ length: workers }, () =>
    fork(fileURLToPath(import.meta.url), ["worker", url, how], { stdio: ["ignore", "ignore", "inherit", "ipc"] }),
  );
  await Promise.all(children.map((child) => new Promise((ready) => child.once("message", ready))));
  children.forEach((child, n) => {
    child.on("message", (message) => said.set(n, message));
    child.send("go");
  });
  const begun = () => Math.min(...[...said.values()].map((s) => s.begun));
  const done = () => [...said.values()].reduce((sum, s) => sum + s.done, 0);
  while (done() < wanted && !(said.size > 0 && Date.now() - begun() > most)) await sleep(5);
  if (wanted === jobs && done() >= wanted) {
    // Outcomes count when they are stored: here, when the job is gone.
    while (Number((await pool.query("select count(*) from graphile_worker._private_jobs")).rows[0].count) > 0) await sleep(5);
  }
  const result = [Math.min(done(), wanted), Date.now() - begun()];
  await Promise.all(children.map((child) => new Promise((gone) => child.on("exit", gone) && child.kill("SIGKILL"))));
  await pool.end();
  return result;
}

async function measure(server, jobs, most) {
  const of = { system: "graphile-worker (Node)", version: version("graphile-worker") };
  const at = (workers) => `${workers} processes, ${AT_ONCE} jobs at once each`;
  for (const [arm, work, how] of [
    ["graphile.local", "jobs of a filled queue, local queue of 500", "local"],
    ["graphile.ordered", "the same, one queue an account", "ordered"],
  ]) {
    for (const workers of WORKERS) {
      rate(of, arm, work, at(workers), ...(await drain(server, how, workers, jobs, jobs, most)));
    }
  }
  for (const waiting of WAITING) {
    const result = await drain(server, "plain", 1, waiting + BESIDE, BESIDE, most);
    rate(of, "graphile.waiting", `jobs while ${waiting} wait`, at(1), ...result);
  }
  await gone(server, "peer_graphile_node");
}
