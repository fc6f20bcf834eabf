// jsforce drives the Salesforce sandbox.
import jsforce from 'jsforce';

const [url, token] = process.argv.slice(2);
let checks = 0;
const check = (what, holds) => {
  if (!holds) throw new Error(`jsforce: ${what}`);
  checks += 1;
};
const refused = async (what, code, action) => {
  try {
    await action();
  } catch (error) {
    check(`${what}: ${error.errorCode}`, error.errorCode === code);
    return;
  }
  check(what, false);
};

const conn = new jsforce.Connection({ instanceUrl: url, accessToken: token, version: '68.0' });

const made = await conn.sobject('Account').create({ Name: 'Node referee' });
check('a create tells its id', made.success && made.id.length === 18);
check('a read shows the name', (await conn.sobject('Account').retrieve(made.id)).Name === 'Node referee');
check('an update succeeds', (await conn.sobject('Account').update({ Id: made.id, Phone: '1' })).success);
const key = 'Perennial_Account_Id__c';
check('an upsert creates', (await conn.sobject('Account').upsert({ [key]: 'node-1', Name: 'Keyed' }, key)).created);
check('an upsert updates', (await conn.sobject('Account').upsert({ [key]: 'node-1', Name: 'Keyed 2' }, key)).created === false);

const people = Array.from({ length: 200 }, (_, n) => ({ LastName: `Node ${n}`, AccountId: made.id }));
const rows = await conn.sobject('Contact').create(people);
check('200 records go in', rows.length === 200 && rows.every((row) => row.success));
const mixed = await conn.sobject('Contact').create([{ FirstName: 'No last name' }, { LastName: 'Good' }]);
check('each record has its own result', !mixed[0].success && mixed[1].success);
check('a row names its code', mixed[0].errors[0].statusCode === 'REQUIRED_FIELD_MISSING');

const page = await conn.query('SELECT Id FROM Contact');
check('a query answers', page.records.length > 0);
const all = await conn.query('SELECT Id, Account.Name FROM Contact', { autoFetch: true, maxFetch: 10000 });
check('all pages are fetched', all.records.length === all.totalSize);
const family = await conn.query(`SELECT Name, (SELECT LastName FROM Contacts) FROM Account WHERE Id = '${made.id}'`);
check('children are nested', family.records[0].Contacts.totalSize === 200);
check('describe shows fields', (await conn.sobject('Account').describe()).fields.length > 50);
check('the global describe shows objects', (await conn.describeGlobal()).sobjects.length > 10);

const job = conn.bulk2.createJob({ operation: 'insert', object: 'Contact' });
await job.open();
await job.uploadData('LastName\nBulk one\nBulk two\n');
await job.close();
await job.poll(50, 10000);
const results = await job.getAllResults();
check('a bulk job takes rows', results.successfulResults.length === 2 && results.failedResults.length === 0);
const stream = await conn.bulk2.query('SELECT Id FROM Contact', { pollInterval: 50, pollTimeout: 10000 });
let count = 0;
for await (const row of stream) if (row.Id) count += 1;
check('bulk query streams rows', count >= 202);

const now = new Date(Date.now() + 120000);
const updated = await conn.sobject('Account').updated(new Date(Date.now() - 3600000).toISOString(), now.toISOString());
check('the list of changes answers', Array.isArray(updated.ids));
const composite = await conn.request({
  method: 'POST',
  url: '/services/data/v68.0/composite',
  body: JSON.stringify({
    allOrNone: true,
    compositeRequest: [
      { method: 'POST', url: '/services/data/v68.0/sobjects/Account', referenceId: 'one', body: { Name: 'Composite' } },
      { method: 'POST', url: '/services/data/v68.0/sobjects/Contact', referenceId: 'two', body: { LastName: 'C', AccountId: '@{one.id}' } },
    ],
  }),
  headers: { 'content-type': 'application/json' },
});
check('a composite refers to its parts', composite.compositeResponse.every((part) => part.httpStatusCode === 201));
check('a delete succeeds', (await conn.sobject('Account').destroy(made.id)).success);

await refused('an unknown field', 'INVALID_FIELD', () => conn.query('SELECT Nope FROM Account'));
await refused('an unknown object', 'INVALID_TYPE', () => conn.query('SELECT Id FROM Nope'));
await refused('a malformed query', 'MALFORMED_QUERY', () => conn.query('SELECT'));
await refused('a dead session', 'INVALID_SESSION_ID', () =>
  new jsforce.Connection({ instanceUrl: url, accessToken: 'dead', version: '68.0' }).query('SELECT Id FROM Account'));
console.log(`jsforce: ${checks} checks`);
