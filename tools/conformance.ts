/** Prints how many of the published conformance behaviours are shown, by part, and what the others need: `node tools/conformance.ts`; with --open each title that is not shown. */
import { BEHAVIOURS, type Proof } from '#testing/conformance/behaviours.ts';

function main(): void {
  const proofs = (wanted: Proof['kind'], part = ''): number =>
    BEHAVIOURS.filter((one) => part === '' || one.part === part).flatMap(({ behaviours }) =>
      behaviours.filter(([, { kind }]) => kind === wanted),
    ).length;
  const row = (name: string, part = ''): string => {
    const [here, elsewhere, open] = [proofs('here', part), proofs('elsewhere', part), proofs('open', part)];
    return `${name.padEnd(18)}${[here + elsewhere + open, here, elsewhere, open].map((count) => String(count).padStart(10)).join('')}`;
  };
  console.log(
    `${'part'.padEnd(18)}${['all', 'here', 'elsewhere', 'open'].map((word) => word.padStart(10)).join('')}`,
  );
  for (const { part } of BEHAVIOURS) console.log(row(part, part));
  console.log(row('sum'));
  const needs = new Map<string, string[]>();
  for (const { part, behaviours } of BEHAVIOURS) {
    for (const [title, proof] of behaviours)
      if (proof.kind === 'open')
        needs.set(proof.needs, [...(needs.get(proof.needs) ?? []), `${part}: ${title}`]);
  }
  if (needs.size > 0) console.log('\nopen, for they need');
  for (const [what, titles] of [...needs].toSorted(([, left], [, right]) => right.length - left.length)) {
    console.log(`${String(titles.length).padStart(4)}  ${what}`);
    if (process.argv.includes('--open')) for (const title of titles) console.log(`        ${title}`);
  }
}

main();
