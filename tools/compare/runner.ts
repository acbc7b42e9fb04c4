/** Runs scenarios on both servers, some at a time, and hands each difference to the caller. The steps of one scenario go one after the other, each to both sides at once. */
import type { Answer, Connection, Sent } from './connection.ts';
import { compareAnswers, describeAnswer, type Difference } from './diff.ts';
import { decodeBody, encodeBody } from './encode.ts';
import { normalise, type Normalised } from './normalise.ts';
import { resolveReferences, type Captured, type Scenario, type Step } from './scenario.ts';

export interface Finding {
  readonly scenario: string;
  readonly area: string;
  /** 'POST /api/v1/namespaces/x/pods?dryRun=All' and what it sent, cut short. */
  readonly request: string;
  readonly sent: string;
  readonly difference: Difference;
}

interface RunOptions {
  readonly reference: Connection;
  readonly subject: Connection;
  readonly concurrency: number;
  readonly onFinding: (finding: Finding) => void;
  /** What the scenarios themselves got wrong: a step that must succeed failed alike on both sides. */
  readonly onRefused: (scenario: string, answer: string) => void;
  /** Now and then, with how many scenarios are done. */
  readonly onProgress?: (done: number) => void;
}

interface RunTotals {
  readonly scenarios: number;
  readonly requests: number;
}

const PROGRESS_EVERY = 5000;
/** Of a body, in a finding. */
const MAX_SENT_CHARACTERS = 3000;

class Side {
  readonly connection: Connection;
  readonly answers = new Map<string, Captured>();
  constructor(connection: Connection) {
    this.connection = connection;
  }
}

export async function runScenarios(scenarios: readonly Scenario[], options: RunOptions): Promise<RunTotals> {
  const waiting = [...scenarios].toReversed();
  let requests = 0,
    done = 0;
  const work = async (): Promise<void> => {
    for (let scenario = waiting.pop(); scenario; scenario = waiting.pop()) {
      const sent = await runScenario(scenario, options);
      requests += sent;
      done += 1;
      if (done % PROGRESS_EVERY === 0) options.onProgress?.(done);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, work));
  return { scenarios: scenarios.length, requests };
}

async function runScenario(scenario: Scenario, options: RunOptions): Promise<number> {
  const sides = { reference: new Side(options.reference), subject: new Side(options.subject) };
  let requests = 0;
  for (const step of scenario.steps) {
    requests += 1 + (step.during?.length ?? 0);
    if (!(await runStep(step, { scenario, sides, options }))) break;
  }
  return requests;
}

interface StepContext {
  readonly scenario: Scenario;
  readonly sides: { readonly reference: Side; readonly subject: Side };
  readonly options: RunOptions;
}

/** Answers whether the scenario goes on. */
async function runStep(step: Step, context: StepContext): Promise<boolean> {
  const { sides, options, scenario } = context;
  const [reference, subject] = await Promise.all([
    sendStep(step, sides.reference),
    sendStep(step, sides.subject),
  ]);
  const nowMs = Date.now();
  const given = `${step.path}\n${Buffer.isBuffer(step.body) ? '' : JSON.stringify(step.body)}`;
  const [left, right] = [reference, subject].map(({ answer, side }) =>
    normalise(answer, { server: side.connection.server, nowMs, request: given }),
  ) as [Normalised, Normalised];
  for (const difference of step.quiet && left.status === right.status ? [] : compareAnswers(left, right)) {
    options.onFinding({
      scenario: scenario.name,
      area: scenario.area,
      request: `${step.method} ${reference.sent.path}`,
      sent: describeSent(reference.sent),
      difference,
    });
  }
  if (!step.must) return true;
  const refused = [left, right].filter(({ status }) => status >= 300 || status === 0);
  if (refused.length === 2 && left.status === right.status)
    options.onRefused(scenario.name, describeAnswer(left));
  return refused.length === 0;
}

async function sendStep(step: Step, side: Side): Promise<{ answer: Answer; sent: Sent; side: Side }> {
  const sent = requestOf(step, side.answers);
  const begun = Promise.withResolvers<void>();
  const answering = side.connection.send(sent, begun.resolve);
  if (step.during) {
    await begun.promise;
    for (const inner of step.during) {
      const request = requestOf(inner, side.answers);
      capture(inner, await side.connection.send(request), side);
    }
  }
  const answer = await answering;
  capture(step, answer, side);
  return { answer, sent, side };
}

function capture(step: Step, answer: Answer, side: Side): void {
  if (step.as !== undefined)
    side.answers.set(step.as, { status: answer.status, headers: answer.headers, body: decodeBody(answer) });
}

function requestOf(step: Step, answers: ReadonlyMap<string, Captured>): Sent {
  const { body, contentType } = encodeBody({
    ...step,
    ...(step.body === undefined ? {} : { body: resolveReferences(step.body, answers) }),
  });
  const headers = {
    ...(contentType === undefined ? {} : { 'content-type': contentType }),
    accept: 'application/json',
    ...resolveReferences(step.headers ?? {}, answers),
  };
  return {
    method: step.method,
    path: resolveReferences(step.path, answers),
    headers,
    body,
    anonymous: step.anonymous,
  };
}

function describeSent({ headers, body }: Sent): string {
  const { accept, 'content-type': contentType, ...others } = headers;
  const shown = {
    ...(accept === 'application/json' ? {} : { accept }),
    ...(contentType === 'application/json' ? {} : { contentType }),
    ...others,
  };
  const text =
    body === undefined
      ? ''
      : /json|yaml/.test(String(contentType))
        ? body.toString()
        : body.toString('latin1');
  return `${Object.keys(shown).length > 0 ? `${JSON.stringify(shown)} ` : ''}${text.slice(0, MAX_SENT_CHARACTERS)}`;
}
