// pg-boss: jobs of a filled queue, fetched 500 at a time and completed together; workers are loops in one process.
// Usage: node pgboss.mjs SERVER JOBS SECONDS
import PgBoss from "pg-boss";
import { BESIDE, WAITING, WORKERS, fresh, gone, rate, version } from "./common.mjs";

const FETCHED = 500;

const [server, jobs, most] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4]) * 1000];

/** Does `wanted` of `jobs` with so many workers. */
async function drain(workers, jobs, wanted, batchSize) {
  const connectionString = await fresh(server, "peer_pgboss");
  const boss = new PgBoss({ connectionString, max: workers + 2, supervise: false, schedule: false });
  boss.on("error", (error) => {
    throw error;
  });
  await boss.start();
  await boss.createQueue("work");
  for (let begin = 0; begin < jobs; begin += 5_000) {
    const count = Math.min(5_000, jobs - begin);
    await boss.insert(Array.from({ length: count }, (_, n) => ({ name: "work", data: { n: begin + n } })));
  }
  const begun = Date.now();
  let done = 0;
  const nothing = async () => {};
  const loop = async () => {
    while (done < wanted && Date.now() - begun < most) {
      const fetched = await boss.fetch("work", { batchSize });
      if (fetched.length === 0) return;
      await Promise.all(fetched.map(nothing));
      await boss.complete("work", fetched.map((job) => job.id));
      done += fetched.length;
    }
  };
  await Promise.all(Array.from({ length: workers }, loop));
  const result = [done, Date.now() - begun];
  await boss.stop({ graceful: false, wait: true });
  return result;
}

const of = { system: "pg-boss", version: version("pg-boss") };
const at = (workers) => `${workers} loops, 1 process`;
for (const workers of WORKERS) {
  const result = await drain(workers, jobs, jobs, FETCHED);
  rate(of, "pgboss", `jobs of a filled queue, fetched ${FETCHED} at a time`, at(workers), ...result);
}
for (const waiting of WAITING) {
  const result = await drain(1, waiting + BESIDE, BESIDE, 50);
  rate(of, "pgboss.waiting", `jobs while ${waiting} wait, fetched 50 at a time`, at(1), ...result);
}
await gone(server, "peer_pgboss");
process.exit(0);
