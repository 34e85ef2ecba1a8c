/** Warnings for the operator: who can reach the service as it is configured. */
import { isLoopbackHost } from './loopback.js'
import type { Principal } from './tokens.js'

/** Characters. A random token of this length has 80 bits or more and cannot be guessed over a network. */
const MIN_TOKEN_LENGTH = 16

/**
 * One sentence for each risk, with its remedy; none if there is no risk.
 *
 * @param host the address that the service listens on
 * @param variables the tokens of environment variables. Only their length is known; a token file has hashes.
 */
export function exposures(
  host: string,
  principals: readonly Principal[],
  variables: { adminToken?: string | undefined; predictToken?: string | undefined },
): string[] {
  const found: string[] = []
  const names = { adminToken: 'FACET_ADMIN_TOKEN', predictToken: 'FACET_PREDICT_TOKEN' } as const
  for (const [key, name] of Object.entries(names) as [keyof typeof names, string][]) {
    const length = variables[key]?.length
    if (length !== undefined && length < MIN_TOKEN_LENGTH)
      found.push(
        `${name} has ${length} characters and can be guessed; make one of 32 or more, such as openssl rand -hex 32 prints.`,
      )
  }
  if (isLoopbackHost(host)) return found
  const guarded = (scope: 'admin' | 'predict' | 'metrics') =>
    principals.some((principal) => principal.scopes.has(scope))
  if (!guarded('predict'))
    found.push(
      `Listening on ${host} without a predict token: whoever reaches this address can predict and list the domains. Set FACET_PREDICT_TOKEN or --token-file.`,
    )
  if (!guarded('metrics'))
    found.push(
      `Listening on ${host} with /metrics open: it names domains and their traffic. Give a principal of --token-file the scope metrics.`,
    )
  if (!guarded('admin'))
    found.push(
      `Listening on ${host} without an admin token: the control plane is off. Set FACET_ADMIN_TOKEN or --token-file to use it.`,
    )
  return found
}
