// @hubspot/api-client drives the HubSpot sandbox over its v3 and v4 paths.
import { Client } from '@hubspot/api-client';

const [url, token] = process.argv.slice(2);
let checks = 0;
const check = (what, holds) => {
  if (!holds) throw new Error(`@hubspot/api-client: ${what}`);
  checks += 1;
};
const client = new Client({ accessToken: token, basePath: url, numberOfApiCallRetries: 0 });
const companies = client.crm.companies;

const made = await companies.basicApi.create({ properties: { name: 'Node referee' }, associations: [] });
check('a create tells its id', /^\d+$/.test(made.id));
check('a read shows the name', (await companies.basicApi.getById(made.id, ['name'])).properties.name === 'Node referee');
check('an update answers', (await companies.basicApi.update(made.id, { properties: { city: 'Ulm' } })).properties.city === 'Ulm');
const inputs = Array.from({ length: 100 }, (_, n) => ({ properties: { name: `Node ${n}`, perennial_account_id: `node-${n}` }, associations: [] }));
const batch = await companies.batchApi.create({ inputs });
check('100 records go in one batch', batch.results.length === 100);
const read = await companies.batchApi.read({ inputs: [{ id: made.id }, { id: '1' }], properties: ['name'], propertiesWithHistory: [] });
check('a missing record is told of', read.results.length === 1 && read.numErrors === 1);
const upserted = await companies.batchApi.upsert({
  inputs: [
    { id: 'node-0', idProperty: 'perennial_account_id', properties: { name: 'Old' } },
    { id: 'node-new', idProperty: 'perennial_account_id', properties: { name: 'New' } },
  ],
});
check('an upsert says what is new', upserted.results.map((one) => one._new).join() === 'false,true');
const everything = await companies.getAll(100, undefined, ['name']);
check('a list pages through everything', everything.length >= 102);
const found = await companies.searchApi.doSearch({
  filterGroups: [{ filters: [{ propertyName: 'name', operator: 'CONTAINS_TOKEN', value: 'node' }] }],
  limit: 50, after: '0', sorts: ['name'], properties: ['name'], query: '',
});
check('a search pages', found.total >= 99 && found.results.length === 50 && found.paging.next.after === '50');
const person = await client.crm.contacts.basicApi.create({ properties: { email: 'node@example.com' }, associations: [] });
await client.crm.associations.v4.basicApi.createDefault('contacts', person.id, 'companies', made.id);
const tied = await client.crm.associations.v4.basicApi.getPage('contacts', person.id, 'companies');
check('an association is there', tied.results.length === 1);
check('properties can be read', (await client.crm.properties.coreApi.getAll('companies')).results.length > 10);
check('owners can be read', (await client.crm.owners.ownersApi.getPage()).results.length === 3);
check('pipelines can be read', (await client.crm.pipelines.pipelinesApi.getAll('deals')).results.length === 1);

const refused = async (what, status, action) => {
  try {
    await action();
  } catch (error) {
    check(`${what}: ${error.code}`, error.code === status);
    return;
  }
  check(what, false);
};
await refused('an unknown property', 400, () => companies.basicApi.create({ properties: { nope: '1' }, associations: [] }));
await refused('a taken unique value', 409, () => companies.basicApi.create({ properties: { perennial_account_id: 'node-1' }, associations: [] }));
await refused('a missing record', 404, () => companies.basicApi.getById('1'));
await refused('a bad token', 401, () => new Client({ accessToken: 'dead', basePath: url, numberOfApiCallRetries: 0 }).crm.companies.basicApi.getPage());
await companies.batchApi.archive({ inputs: batch.results.map((one) => ({ id: one.id })) });
check('an archive empties the list', (await companies.getAll()).length < 100);
console.log(`@hubspot/api-client: ${checks} checks`);
