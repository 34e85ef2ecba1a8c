/** Which service a command talks to, with which token, and how it ends where that fails. */
import type { Command } from 'commander'
import { FacetClient } from '../../client/client.js'
import { DEFAULT_URL } from '../../client/connection.js'
import { ApiProblem, Unreachable } from '../../client/problem.js'
import { FileProblem } from '../../host/file-problem.js'
import { printable } from '../../shown-text.js'
import { type Profile, profilesFile, readProfiles } from './profiles.js'
import { RemoteError } from './remote-error.js'

export interface ServiceFlags {
  url?: string
  profile?: string
}

export const URL_VARIABLE = 'FACET_CLIENT_URL'
export const TOKEN_VARIABLE = 'FACET_CLIENT_TOKEN'
export const PROFILE_VARIABLE = 'FACET_CLIENT_PROFILE'

/** Gives a command the options that name the service. */
export function ofService(command: Command): Command {
  return command
    .option('--url <url>', `the service (default: the profile's, or ${DEFAULT_URL}; ${URL_VARIABLE})`)
    .option('--profile <name>', `a profile of facet profile (default: its default; ${PROFILE_VARIABLE})`)
}

export async function clientOf(flags: ServiceFlags): Promise<FacetClient> {
  return new FacetClient(await serviceOf(flags))
}

/**
 * A flag beats its variable, and both beat the profile. A profile's token goes to the profile's own service alone.
 *
 * @throws RemoteError, FileProblem
 */
export async function serviceOf(flags: ServiceFlags, env: NodeJS.ProcessEnv = process.env): Promise<Profile> {
  const profile = await profileOf(flags.profile ?? (env[PROFILE_VARIABLE] || undefined), env)
  const url = flags.url ?? (env[URL_VARIABLE] || undefined) ?? profile?.url ?? DEFAULT_URL
  checkUrl(url)
  const own = profile !== undefined && new URL(profile.url).origin === new URL(url).origin
  const token = env[TOKEN_VARIABLE] || (own ? profile.token : undefined)
  return { url, ...(token !== undefined && { token }) }
}

async function profileOf(name: string | undefined, env: NodeJS.ProcessEnv): Promise<Profile | undefined> {
  const { default: standard, profiles } = await readProfiles(profilesFile(env))
  const wanted = name ?? standard
  if (wanted === undefined) return undefined
  const found = Object.hasOwn(profiles, wanted) ? profiles[wanted] : undefined
  if (found !== undefined) return found
  const known = Object.keys(profiles).join(', ') || 'there is none yet'
  throw new RemoteError(
    `There is no profile '${wanted}' (${known}). facet profile add ${wanted} --url URL makes it.`,
  )
}

/** @throws RemoteError */
export function checkUrl(url: string): void {
  if (/^https?:\/\//.test(url) && URL.canParse(url)) return
  throw new RemoteError(`'${url}' is not the URL of a service, such as ${DEFAULT_URL}.`)
}

/** Does the work of a command, and ends it where that fails as a user can understand. */
export async function ending(command: Command, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const expected = [ApiProblem, Unreachable, RemoteError, FileProblem].some((type) => error instanceof type)
    if (!expected) throw error
    command.error(`error: ${messageOf(error as Error)}`)
  }
}

/** What a person is told, with the request's id where the log may say more. */
export function messageOf(error: Error): string {
  const text = printable(error.message)
  if (!(error instanceof ApiProblem)) return text
  const { problems, status, requestId } = error
  const list = problems.length > 1 ? problems.map((problem) => `\n  - ${printable(problem)}`).join('') : ''
  const token = status === 401 ? ` Set ${TOKEN_VARIABLE}, or give a profile a token (facet profile add).` : ''
  const id = status >= 500 && requestId !== undefined ? ` (request ${printable(requestId)})` : ''
  return `${text}${token}${id}${list}`
}
