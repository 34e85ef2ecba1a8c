/** `facet profile`: names for the services that a user works with. */
import { text } from 'node:stream/consumers'
import { Command } from 'commander'
import { table } from '../table.js'
import { checkUrl, ending } from './connect.js'
import { PROFILE_NAME, profilesFile, readProfiles, writeProfiles } from './profiles.js'
import { RemoteError } from './remote-error.js'

export function profileCommand(): Command {
  const profile = new Command('profile').description(
    'name services, with their tokens, for the commands that call one',
  )
  profile
    .command('add')
    .description('add a profile, or replace it; the first one is the default')
    .argument('<name>')
    .requiredOption('--url <url>', 'the service')
    .option('--token-stdin', 'read a token from the standard input')
    .option('--default', 'use it where no profile is named')
    .action((name: string, flags: { url: string; tokenStdin?: true; default?: true }, command: Command) =>
      ending(command, async () => {
        checkUrl(flags.url)
        if (!PROFILE_NAME.test(name))
          throw new RemoteError(`'${name}' cannot be a profile's name: letters, digits and ._-`)
        const token = flags.tokenStdin ? await readToken() : undefined
        const file = profilesFile()
        const { default: standard = name, profiles } = await readProfiles(file)
        await writeProfiles(file, {
          default: flags.default ? name : standard,
          profiles: { ...profiles, [name]: { url: flags.url, ...(token !== undefined && { token }) } },
        })
        process.stdout.write(
          `${name}: ${flags.url}${token === undefined ? '' : ', with a token'} (${file})\n`,
        )
      }),
    )
  profile
    .command('ls')
    .description('list the profiles, without their tokens')
    .action((_flags: object, command: Command) =>
      ending(command, async () => {
        const { default: standard, profiles } = await readProfiles(profilesFile())
        const rows = Object.entries(profiles).map(([name, { url, token }]) => [
          name === standard ? '*' : '',
          name,
          url,
          token === undefined ? 'no' : 'yes',
        ])
        process.stdout.write(`${table([['', 'profile', 'url', 'token'], ...rows])}\n`)
      }),
    )
  profile
    .command('rm')
    .description('remove a profile')
    .argument('<name>')
    .action((name: string, _flags: object, command: Command) =>
      ending(command, async () => {
        const file = profilesFile()
        const { default: standard, profiles } = await readProfiles(file)
        if (!Object.hasOwn(profiles, name)) throw new RemoteError(`There is no profile '${name}'.`)
        const { [name]: _removed, ...rest } = profiles
        await writeProfiles(file, {
          ...(standard !== undefined && standard !== name && { default: standard }),
          profiles: rest,
        })
        process.stdout.write(`${name}: removed\n`)
      }),
    )
  return profile
}

/** @throws RemoteError for a text that no token can be */
async function readToken(): Promise<string> {
  const token = (await text(process.stdin)).trim()
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new RemoteError('The token (standard input) must be printable ASCII without spaces, and not empty.')
}
