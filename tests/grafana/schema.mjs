// Checks dashboards against Grafana's own schema.
//
//   node schema.mjs DASHBOARD.json...
//
// The schema is generated from the TypeScript types of @grafana/schema, whose version package.json pins: the
// dashboard's from `raw/dashboard`, the options and the custom field settings of each kind of panel from
// `raw/composable/KIND/panelcfg`. What the types do not know is an error, so that a misspelt field is one.
import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import Ajv from 'ajv';
import {createGenerator} from 'ts-json-schema-generator';

const TYPES = join(dirname(fileURLToPath(import.meta.url)), 'node_modules/@grafana/schema/dist/types/raw');
const ajv = new Ajv({allErrors: true, strict: false, allowUnionTypes: true});
const known = new Map();

/** A validator of one type of a file below TYPES; nothing if the file has no such type. */
function validator(path, type) {
  const key = `${path} ${type}`;
  if (!known.has(key)) {
    const file = join(TYPES, path);
    const has = new RegExp(`export interface ${type} `).test(readFileSync(file, 'utf8'));
    const make = () => createGenerator({path: file, type, skipTypeCheck: true, additionalProperties: false}).createSchema(type);
    known.set(key, has ? ajv.compile(make()) : undefined);
  }
  return known.get(key);
}

/** What is wrong with a value, as one line each. */
function problems(where, path, type, value) {
  const validate = validator(path, type);
  if (!validate) return Object.keys(value).length ? [`${where}: panels of this kind have no ${type}`] : [];
  if (validate(value)) return [];
  return validate.errors.map(({instancePath, message, params}) =>
    `${where}${instancePath}: ${message} ${params.additionalProperty ?? params.allowedValues ?? ''}`.trimEnd());
}

/** What is wrong with a dashboard. */
function check(file) {
  const dashboard = JSON.parse(readFileSync(file, 'utf8'));
  const found = problems(file, 'dashboard/x/types.gen.d.ts', 'Dashboard', dashboard);
  if (dashboard.schemaVersion !== 42) found.push(`${file}: schemaVersion is not 42`);
  for (const panel of dashboard.panels.filter(({type}) => type !== 'row')) {
    const where = `${file}: ${panel.title}`;
    const path = `composable/${panel.type.replaceAll('-', '')}/panelcfg/x/types.gen.d.ts`;
    found.push(...problems(`${where}: options`, path, 'Options', panel.options ?? {}));
    found.push(...problems(`${where}: custom`, path, 'FieldConfig', panel.fieldConfig?.defaults?.custom ?? {}));
  }
  return found;
}

/** A dashboard with mistakes must not pass: a checker that lets everything through is none. */
function selfTest(file) {
  const text = readFileSync(file, 'utf8');
  const mistakes = [
    ['dashboard/x/types.gen.d.ts', 'Dashboard', {...JSON.parse(text), refreshh: '5s'}],
    ['composable/statetimeline/panelcfg/x/types.gen.d.ts', 'Options', {rowHeight: 1, showValue: 'never', mergeValue: true}],
    ['composable/statetimeline/panelcfg/x/types.gen.d.ts', 'Options', {rowHeight: 1, showValue: 'sometimes'}],
  ];
  return mistakes.filter((mistake) => !problems('', ...mistake).length).map(([, , value]) => `a mistake passes: ${JSON.stringify(value).slice(-60)}`);
}

const files = process.argv.slice(2);
if (!files.length) throw new Error('which dashboards?');
const found = [...files.flatMap(check), ...selfTest(files[0])];
found.forEach((line) => console.error(line));
console.log(`${files.length} dashboards, ${known.size} types, ${found.length} problems`);
process.exitCode = found.length ? 1 : 0;
