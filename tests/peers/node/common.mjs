// What the arms of Node share: databases, rows as lines of JSON, counting.
import { createRequire } from "node:module";
import pg from "pg";

/** Workers of each system, one after the other. */
export const WORKERS = [1, 2, 4, 8];
/** Jobs of an account, where a system can keep their order. */
export const EACH = 4;
/** Jobs measured beside a backlog. */
export const BESIDE = 1_500;
/** Jobs that wait meanwhile. */
export const WAITING = [3_000, 20_000];

const require = createRequire(import.meta.url);

/** Version of an installed package. */
export const version = (name) => require(`${name}/package.json`).version;

/** A new database on the server; its address. */
export async function fresh(server, name) {
  await admin(server, `drop database if exists ${name} with (force)`, `create database ${name}`);
  return server.replace(/\/[^/]*$/, `/${name}`);
}

/** Removes one. */
export const gone = (server, name) => admin(server, `drop database if exists ${name} with (force)`);

async function admin(server, ...texts) {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  for (const text of texts) await client.query(text);
  await client.end();
}

/** Prints a rate. */
export function rate(of, arm, work, workers, done, ms) {
  const row = { arm, ...of, on: "PostgreSQL", work, workers, value: done / (ms / 1000), unit: "/s" };
  console.log(JSON.stringify(row));
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
