#include "stream_times.h"

#ifdef TINYPOSE_FFMPEG

#include <algorithm>
#include <memory>

extern "C" {
#include <libavformat/avformat.h>
}

namespace tinypose {
namespace {

struct CloseFile {
    void operator()(AVFormatContext* file) const { avformat_close_input(&file); }
};

struct FreePacket {
    void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};

}  // namespace

std::vector<double> read_stream_times(const std::string& path) {
    std::vector<double> times;
    AVFormatContext* opened = nullptr;
    if (avformat_open_input(&opened, path.c_str(), nullptr, nullptr) < 0) return times;
    const std::unique_ptr<AVFormatContext, CloseFile> file(opened);
    if (avformat_find_stream_info(opened, nullptr) < 0) return times;
    const int index = av_find_best_stream(opened, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    if (index < 0) return times;
    const AVStream* stream = opened->streams[index];
    const int64_t start = stream->start_time == AV_NOPTS_VALUE ? 0 : stream->start_time;
    const std::unique_ptr<AVPacket, FreePacket> packet(av_packet_alloc());
    while (av_read_frame(opened, packet.get()) >= 0) {
        const bool shown = !(packet->flags & AV_PKT_FLAG_DISCARD);  // an edit list may leave frames out
        if (packet->stream_index == index && packet->pts != AV_NOPTS_VALUE && shown) {
            times.push_back(static_cast<double>(packet->pts - start) * av_q2d(stream->time_base));
        }
        av_packet_unref(packet.get());
    }
    std::sort(times.begin(), times.end());
    return times;
}

}  // namespace tinypose

#else

namespace tinypose {

std::vector<double> read_stream_times(const std::string&) {
    return {};
}

}  // namespace tinypose

#endif
