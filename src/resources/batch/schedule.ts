/** Cron schedules as the CronJob controller reads them (robfig/cron v3's standard parser): five fields or an @word. */

const FIELDS = [
  { name: 'minute', low: 0, high: 59 }, { name: 'hour', low: 0, high: 23 }, { name: 'day-of-month', low: 1, high: 31 },
  { name: 'month', low: 1, high: 12, words: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'] },
  { name: 'day-of-week', low: 0, high: 6, words: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
] as const;
const DESCRIPTORS = new Set(['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly']);

type Field = (typeof FIELDS)[number];

/** What is wrong with a schedule, in the parser's words; undefined when it is good. */
export function scheduleProblem(text: string): string | undefined {
  let schedule = text;
  if (schedule === '') return 'empty spec string';
  const zone = /^(?:CRON_)?TZ=(\S+)\s+/.exec(schedule);
  if (zone) {
    if (!isTimeZone(zone[1]!)) return `provided bad location ${zone[1]}: unknown time zone ${zone[1]}`;
    schedule = schedule.slice(zone[0].length);
  }
  if (schedule.startsWith('@')) {
    if (DESCRIPTORS.has(schedule) || /^@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(schedule)) return undefined;
    return schedule.startsWith('@every ') ? `failed to parse duration ${schedule}: time: invalid duration ${JSON.stringify(schedule.slice(7))}` : `unrecognized descriptor: ${schedule}`;
  }
  const parts = schedule.trim().split(/\s+/);
  if (parts.length !== 5) return `expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`;
  for (let i = 0; i < 5; i++) {
    const problem = parts[i]!.split(',').map((range) => rangeProblem(range, FIELDS[i]!)).find((found) => found !== undefined);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function rangeProblem(range: string, field: Field): string | undefined {
  const [span, step, ...moreSteps] = range.split('/');
  if (moreSteps.length > 0) return `too many slashes: ${range}`;
  const [from, to, ...more] = span!.split('-');
  if (more.length > 0) return `too many hyphens: ${range}`;
  let low: number = field.low, high: number = field.high;
  if (from !== '*' && from !== '?') {
    const first = valueOf(from!, field);
    if (typeof first === 'string') return first;
    const last = to === undefined ? (step === undefined ? first : field.high) : valueOf(to, field);
    if (typeof last === 'string') return last;
    low = first;
    high = last;
  }
  if (step !== undefined && !/^\d+$/.test(step)) return `failed to parse int from ${step}: strconv.Atoi: parsing ${JSON.stringify(step)}: invalid syntax`;
  if (low < field.low) return `beginning of range (${low}) below minimum (${field.low}): ${range}`;
  if (high > field.high) return `end of range (${high}) above maximum (${field.high}): ${range}`;
  if (low > high) return `beginning of range (${low}) beyond end of range (${high}): ${range}`;
  return step !== undefined && Number(step) === 0 ? `step of range should be a positive number: ${range}` : undefined;
}

function valueOf(text: string, field: Field): number | string {
  const word = 'words' in field ? (field.words as readonly string[]).indexOf(text.toLowerCase()) : -1;
  if (word >= 0) return word + field.low;
  return /^\d+$/.test(text) ? Number(text) : `failed to parse int from ${text}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`;
}

export function isTimeZone(name: string): boolean {
  if (name === 'UTC') return true;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return /^[A-Za-z_]+(\/[-A-Za-z0-9_+]+)*$/.test(name);
  } catch {
    return false;
  }
}
