/** The options of `capstan apiserver` that say who is let in by the word of others. */
import { Option, type Command } from 'commander';
import { list, yesOrNo } from './component-options.ts';

const TEXTS: Readonly<Record<string, string>> = {
  '--authentication-config <file>':
    'issuers of ID tokens from a file of kind AuthenticationConfiguration, followed while running',
  '--authentication-token-webhook-config-file <file>':
    'kubeconfig of a server that is asked about tokens nobody else knows',
  '--authentication-token-webhook-version <version>':
    'of the TokenReview it is sent: v1 or v1beta1 (default: v1beta1)',
  '--authentication-token-webhook-cache-ttl <duration>': 'how long its answers are remembered (default: 2m)',
  '--oidc-issuer-url <url>': 'issuer of ID tokens (https); several need --authentication-config',
  '--oidc-client-id <id>': 'audience that its tokens must be for',
  '--oidc-username-claim <claim>': "claim with the user's name (default: sub)",
  '--oidc-username-prefix <text>':
    'put before names; - for nothing (default: ISSUER#, nothing for claim email)',
  '--oidc-groups-claim <claim>': "claim with the user's groups",
  '--oidc-groups-prefix <text>': 'put before groups',
  '--oidc-ca-file <file>': "authority of the issuer's certificate (default: those the machine trusts)",
  '--service-account-max-token-expiration <duration>':
    'longest life of a service account token, at least 1h; longer requests are cut',
};

export function authenticationOptions(command: Command): void {
  for (const [flag, text] of Object.entries(TEXTS)) command.option(flag, text);
  command
    .addOption(
      new Option(
        '--oidc-required-claim <claim=value>',
        'claims that tokens must have; may be given several times',
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--oidc-signing-algs <names>',
        'algorithms that tokens may be signed with (default: RS256)',
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--service-account-extend-token-expiration [true|false]',
        "let the tokens of pods' volumes live a year, for clients that never read them again (default: true)",
      )
        .argParser(yesOrNo('service-account-extend-token-expiration'))
        .preset('true'),
    );
}
