/** Checks whether this machine can run real containers, after installing what may be installed. */
import { UserError, type RuntimeKind } from '#deploy/data-dir.ts';
import { installPackages, missingPackages } from '#deploy/packages/debian.ts';

interface RuntimeChoice {
  readonly mustBeReal: boolean;
  readonly install: boolean;
  readonly say: (text: string) => void;
}

export function chooseRuntime({ mustBeReal, install, say }: RuntimeChoice): RuntimeKind {
  const obstacle = realNodeObstacle({ install, say });
  if (!obstacle) return 'cri';
  if (mustBeReal) throw new UserError(`--runtime cri is not possible here: ${obstacle}.`);
  say(`Real containers are not possible here: ${obstacle}.`);
  say('Starting with simulated nodes instead (pods go through their life without containers).');
  return 'simulated';
}

/** Reasons why this machine cannot run real containers, after installing what may be installed. */
function realNodeObstacle({
  install,
  say,
}: {
  readonly install: boolean;
  readonly say: (text: string) => void;
}): string | undefined {
  if (process.platform !== 'linux') return `this is ${process.platform}, and containers need Linux`;
  const missing = missingPackages();
  if (process.getuid?.() !== 0)
    return `this needs root${missing.length > 0 ? `, and the packages ${missing.join(' ')}` : ''}`;
  if (missing.length === 0) return undefined;
  const byHand = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (!install) return `missing packages (--no-install was given): ${byHand}`;
  say(`Installing Debian packages: ${missing.join(' ')} (refuse with --no-install)`);
  const complaint = installPackages(missing);
  const left = missingPackages();
  return left.length === 0
    ? undefined
    : `the packages ${left.join(' ')} could not be installed (${complaint ?? 'they bring no such program'}); try: ${byHand}`;
}
