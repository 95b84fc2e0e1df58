// Every operation of KVS that the AWS SDK for JavaScript v3 has, in one life of a channel under node. Standard input is
// `{http, https, name, credentials, ...}`; the result on standard output is a list of `{operation, answer, output}`.

import * as video from "@aws-sdk/client-kinesis-video";
import * as signaling from "@aws-sdk/client-kinesis-video-signaling";
import * as storage from "@aws-sdk/client-kinesis-video-webrtc-storage";

const given = JSON.parse(await new Response(process.stdin).text());
const { name } = given;
const calls = [];

function connect(Client, endpoint, credentials = given.credentials) {
  return new Client({ region: "us-west-2", endpoint, credentials, maxAttempts: 1 });
}

/** Make one call; its result or its error becomes a row, and is returned. */
async function call(client, Command, input) {
  const operation = Command.name.replace(/Command$/, "");
  try {
    const { $metadata, ...output } = await client.send(new Command(input));
    calls.push({ operation, answer: `${$metadata.httpStatusCode}`, requestId: $metadata.requestId, output });
    return output;
  } catch (error) {
    const { $metadata, name: code, message } = error;
    const isTyped = [video, signaling, storage].some((sdk) => sdk[code] && error instanceof sdk[code]);
    const row = { answer: `${$metadata?.httpStatusCode} ${code}`, requestId: $metadata?.requestId, message, isTyped };
    calls.push({ operation, ...row, output: null });
    return null;
  }
}

const scenarios = {
  async life() {
    const control = connect(video.KinesisVideoClient, given.endpoint);
    const create = { ChannelName: name, Tags: [{ Key: "room", Value: "Größe 5" }] };
    const { ChannelARN } = await call(control, video.CreateSignalingChannelCommand, create);
    await call(control, video.CreateSignalingChannelCommand, create);
    const { ChannelInfo } = await call(control, video.DescribeSignalingChannelCommand, { ChannelName: name });
    const prefix = { ComparisonOperator: "BEGINS_WITH", ComparisonValue: name };
    await call(control, video.ListSignalingChannelsCommand, { ChannelNameCondition: prefix });
    const change = { ChannelARN, SingleMasterConfiguration: { MessageTtlSeconds: 90 } };
    await call(control, video.UpdateSignalingChannelCommand, { ...change, CurrentVersion: ChannelInfo.Version });
    await call(control, video.UpdateSignalingChannelCommand, { ...change, CurrentVersion: ChannelInfo.Version });
    await call(control, video.TagResourceCommand, { ResourceARN: ChannelARN, Tags: [{ Key: "a", Value: "b" }] });
    await call(control, video.UntagResourceCommand, { ResourceARN: ChannelARN, TagKeyList: ["a"] });
    await call(control, video.ListTagsForResourceCommand, { ResourceARN: ChannelARN });
    const wanted = { Protocols: ["WSS", "HTTPS"], Role: "VIEWER" };
    const { ResourceEndpointList } = await call(control, video.GetSignalingChannelEndpointCommand, {
      ChannelARN,
      SingleMasterChannelEndpointConfiguration: wanted,
    });
    await call(control, video.DescribeMediaStorageConfigurationCommand, { ChannelARN });
    const disabled = { Status: "DISABLED" };
    await call(control, video.UpdateMediaStorageConfigurationCommand, { ChannelARN, MediaStorageConfiguration: disabled });
    const StreamARN = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/none/1700000000000";
    const enabled = { Status: "ENABLED", StreamARN };
    await call(control, video.UpdateMediaStorageConfigurationCommand, { ChannelARN, MediaStorageConfiguration: enabled });
    await call(control, video.DescribeMappedResourceConfigurationCommand, { StreamARN });

    const https = ResourceEndpointList.find((entry) => entry.Protocol === "HTTPS").ResourceEndpoint;
    const data = connect(signaling.KinesisVideoSignalingClient, https);
    await call(data, signaling.GetIceServerConfigCommand, { ChannelARN, ClientId: "not-connected", Service: "TURN" });
    const stores = connect(storage.KinesisVideoWebRTCStorageClient, https);
    await call(stores, storage.JoinStorageSessionCommand, { channelArn: ChannelARN });
    await call(stores, storage.JoinStorageSessionAsViewerCommand, { channelArn: ChannelARN, clientId: "me" });
    await call(control, video.DeleteSignalingChannelCommand, { ChannelARN });
    await call(control, video.DescribeSignalingChannelCommand, { ChannelARN });
    await call(data, signaling.GetIceServerConfigCommand, { ChannelARN });
  },

  async alexa() {
    const data = connect(signaling.KinesisVideoSignalingClient, given.endpoint);
    const offer = { ChannelARN: given.arn, SenderClientId: "alexa", MessagePayload: given.offer };
    await call(data, signaling.SendAlexaOfferToMasterCommand, offer);
  },

  async page() {
    const control = connect(video.KinesisVideoClient, given.endpoint);
    const names = [];
    const condition = { ChannelNameCondition: { ComparisonOperator: "BEGINS_WITH", ComparisonValue: name } };
    for await (const page of video.paginateListSignalingChannels({ client: control, pageSize: 2 }, condition)) {
      names.push(...page.ChannelInfoList.map((info) => info.ChannelName));
    }
    calls.push({ operation: "ListSignalingChannels", answer: "200", output: names });
  },

  async credentials() {
    for (const who of given.several) {
      await call(connect(video.KinesisVideoClient, given.endpoint, who), video.ListSignalingChannelsCommand, {});
    }
  },
};

await scenarios[process.argv[2]]();
console.log(JSON.stringify(calls));
