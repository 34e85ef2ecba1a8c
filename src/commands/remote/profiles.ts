/**
 * Profiles: services that a user works with, each a URL and perhaps a token, in a file that nobody else may read
 * (`~/.config/facet/profiles.json`, or below `XDG_CONFIG_HOME`).
 */
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { isFileError, naming } from '../../host/file-problem.js'
import { RemoteError } from './remote-error.js'

export interface Profile {
  url: string
  token?: string
}

export interface Profiles {
  /** The one that is used where none is named. */
  default?: string
  profiles: Record<string, Profile>
}

export const PROFILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
/** Rights of others than the file's owner. */
const OTHERS = 0o077
const OWNER_ONLY = 0o600
const WHAT = 'The file of profiles'
const REMEDY = 'facet profile add NAME --url URL makes a new one.'

export function profilesFile(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'facet', 'profiles.json')
}

/** @throws RemoteError where others may read it, or it is no file of profiles; FileProblem */
export async function readProfiles(file: string): Promise<Profiles> {
  let text: string
  try {
    // Windows has other rights.
    const { mode } = await stat(file)
    if (process.platform !== 'win32' && (mode & OTHERS) !== 0)
      throw new RemoteError(
        `${WHAT} ${file} may hold tokens, and others may read it. Run: chmod 600 '${file}'`,
      )
    text = await naming(WHAT, file, REMEDY, () => readFile(file, 'utf8'))
  } catch (error) {
    if (isFileError(error) && error.code === 'ENOENT') return { profiles: {} }
    throw error
  }
  const read = parse(text)
  if (read === null) throw new RemoteError(`${WHAT} ${file} is not one that facet profile wrote. ${REMEDY}`)
  return read
}

function parse(text: string): Profiles | null {
  try {
    const value = JSON.parse(text) as Partial<Profiles>
    const sound = Object.values(value.profiles ?? { none: null }).every(
      (profile) => typeof profile?.url === 'string' && ['string', 'undefined'].includes(typeof profile.token),
    )
    return sound ? (value as Profiles) : null
  } catch {
    return null
  }
}

/** Replaces the file whole. */
export async function writeProfiles(file: string, profiles: Profiles): Promise<void> {
  await naming(WHAT, file, 'Set XDG_CONFIG_HOME to a folder of yours.', async () => {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const draft = `${file}.${randomUUID()}`
    try {
      await writeFile(draft, `${JSON.stringify(profiles, null, 2)}\n`, { mode: OWNER_ONLY, flag: 'wx' })
      await rename(draft, file)
    } finally {
      await rm(draft, { force: true })
    }
  })
}
