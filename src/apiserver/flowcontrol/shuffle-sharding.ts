/** Which few of many queues a flow uses: a hand of cards dealt by the flow's hash, so that two flows hardly ever share all of theirs. */
import { createHash } from 'node:crypto';

interface HandSpec {
  readonly queues: number;
  readonly handSize: number;
}

/** 64 bits that only depend on schema and distinguisher. */
export function flowHash(schema: string, distinguisher: string): bigint {
  return createHash('sha256').update(schema).update('\0').update(distinguisher).digest().readBigUInt64LE(0);
}

/** Different queue indexes, handSize of them. Each is drawn from those that are left by one digit of the hash. */
export function dealHand(hash: bigint, { queues, handSize }: HandSpec): number[] {
  const size = Math.min(handSize, queues);
  const hand: number[] = [];
  const drawn: number[] = [];
  let rest = hash;
  for (let i = 0; i < size; i++) {
    const left = BigInt(queues - i);
    let card = Number(rest % left);
    rest /= left;
    // The card-th of those not yet drawn.
    for (const taken of drawn) if (card >= taken) card++;
    hand.push(card);
    drawn.splice(firstAbove(drawn, card), 0, card);
  }
  return hand;
}

function firstAbove(sorted: readonly number[], value: number): number {
  const at = sorted.findIndex((item) => item > value);
  return at < 0 ? sorted.length : at;
}
